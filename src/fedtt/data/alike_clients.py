"""Clients whose ids a reader takes for the same."""

from collections.abc import Sequence

from fedtt.data.label_meaning import look_of

SHOWN = 3  # pairs


def alike_notes(client_ids: Sequence[str]) -> tuple[str, ...]:
    """A line on ids that differ by case, Unicode form, white space or zeros in front only.

    They may well be two clients: ids are codes, and nobody reads them.
    """
    seen: dict[str, str] = {}
    pairs = [
        f"{other!r} and {client_id!r}"
        for client_id in client_ids
        if (other := seen.setdefault(look_of(client_id), client_id)) != client_id
    ]
    if not pairs:
        return ()
    more = f", and {len(pairs) - SHOWN:,} more pairs" if len(pairs) > SHOWN else ""
    return (f"Clients of their own that look alike: {', '.join(pairs[:SHOWN])}{more}.",)
