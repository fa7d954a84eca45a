"""Clients that fail the same way again and again: they are left out, and named."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

MOST_FAILURES = 3  # in a row, in the same way
LONGEST_REASON = 200  # characters


class Failure(NamedTuple):
    """Why a client's last replies were none, and how many of them in a row."""

    reason: str
    times: int


def failures_after(
    before: Mapping[str, Failure], *, heard: Collection[str], failed: Mapping[str, str]
) -> dict[str, Failure]:
    """The books after a round: an update that counts wipes them out, another reason begins anew.

    Who was not called, or late, or unreachable, is neither.
    """
    after = {client: failure for client, failure in before.items() if client not in heard}
    for client, said in failed.items():
        reason = said[:LONGEST_REASON]
        known = after.get(client, Failure(reason, 0))
        after[client] = Failure(reason, known.times + 1 if known.reason == reason else 1)
    return after


def left_out(failures: Mapping[str, Failure]) -> dict[str, str]:
    """Who is not called any more, and why."""
    return {
        client: failure.reason
        for client, failure in failures.items()
        if failure.times >= MOST_FAILURES
    }
