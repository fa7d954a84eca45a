"""Clients of this process that cannot train: named, and left to the round, as sites are.

What goes wrong for all of a round's clients is a fault of the run, and ends it.
"""

from collections.abc import Callable, Iterable, Iterator

from fedtt.engine.client_work import Work
from fedtt.engine.cohort_work import Group
from fedtt.errors import ConfigError, FedttError, InterruptedRunError, RunError
from fedtt.federated.round import ClientReply, FailedReply

NO_CLIENTS = (InterruptedRunError, RunError, ConfigError)  # errors that are of no client


def replies_or_failures(
    groups: Iterable[Group], *, alone: Callable[[Work], bytes]
) -> Iterator[ClientReply]:
    """One reply a client, or why it has none; raises the first error where nobody could train.

    Where a group cannot train together, its clients do one by one, and it shows who it was.
    """
    errors: list[FedttError] = []
    heard = 0
    for group in groups:
        try:
            together: list[bytes] = list(group.train())
        except NO_CLIENTS:
            raise
        except FedttError:
            for work in group.works:
                reply = _tried(work, alone, errors)
                heard += isinstance(reply, bytes)
                yield reply
        else:
            heard += len(together)
            yield from together
    if errors and not heard:
        raise errors[0]


def _tried(work: Work, alone: Callable[[Work], bytes], errors: list[FedttError]) -> ClientReply:
    """Adds to ``errors``."""
    try:
        return alone(work)
    except NO_CLIENTS:
        raise
    except FedttError as error:
        errors.append(error)
        return FailedReply(reason=error.summary)
