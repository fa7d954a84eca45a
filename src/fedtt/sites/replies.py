"""What a site may say in reply to a round, checked before any of it is used."""

from collections.abc import Collection, Sequence
from statistics import median_low

from torch import Tensor

from fedtt.data import SHARED
from fedtt.errors import WireError
from fedtt.federated.round import CheckedReply, ClientTask
from fedtt.federated.wire.broadcast import trained_names
from fedtt.federated.wire.update import decode_update
from fedtt.sites.expected_metrics import Measured
from fedtt.sites.message_schema import LARGE, SiteMetrics, parse_metrics
from fedtt.sites.peer_text import quote_peer

LIMITS = "a number of at most 10^15"


def check_count(blobs: Sequence[bytes], *, expected: int) -> None:
    """Raise :class:`WireError` unless there is one update a client."""
    if len(blobs) != expected:
        raise WireError("a reply has not one update a client", got=len(blobs), expected=expected)


def check_update(blob: bytes, task: ClientTask, *, num_examples: int) -> CheckedReply:
    """The update for the task, of a client with so many examples.

    Raises :class:`WireError` for other parameters than the task's, values that are not finite or
    are huge, or a weight that is not what the site said when it joined.
    """
    trained = trained_names(task.payload, structure=task.structure)
    update = decode_update(blob, expected=task.answer(trained), codec=task.codec)
    if update.num_examples != num_examples:
        raise WireError(
            "an update counts other examples than its client has",
            where=task.client_id,
            got=update.num_examples,
            expected=num_examples,
        )
    large = [name for name, tensor in update.delta.items() if _is_large(tensor)]
    if large or abs(update.loss) > LARGE:
        what = large[0] if large else "its loss"
        raise WireError("an update is huge", where=f"{task.client_id}, {what}", expected=LIMITS)
    return CheckedReply(update=update, size=len(blob))


def check_metrics(
    content: object, *, splits: Sequence[str], own: Collection[str], measured: Measured
) -> SiteMetrics:
    """The measurements of those splits by a site whose clients are ``own``.

    Raises :class:`WireError` for anything else. Of a split that all share a site may speak for
    all instead of for its clients, not besides: that would be two votes.
    """
    found = parse_metrics(content, peer="its metrics")
    if sorted(found) != sorted(splits):
        raise WireError(
            "a reply measures other splits than asked for",
            got=quote_peer(sorted(found)[:3]),
            expected=list(splits),
        )
    for split, by_holder in found.items():
        holders = set(by_holder)
        for_all = split in measured.shared and holders == {SHARED}
        if not (for_all or holders <= set(own)):
            raise WireError("a reply measures examples of others", expected=sorted(own)[:3])
        for metrics in by_holder.values():
            if metrics.keys() != measured.names:
                expected = sorted(measured.names)
                raise WireError("a reply has other metrics than the task", expected=expected)
    return found


def join_metrics(found: Sequence[SiteMetrics], splits: Sequence[str]) -> SiteMetrics:
    """All sites' measurements; of what several measured, the (lower) median of each metric."""
    joined: SiteMetrics = {}
    for split in splits:
        said: dict[str, list[dict[str, float]]] = {}
        for metrics in found:
            for holder, values in metrics.get(split, {}).items():
                said.setdefault(holder, []).append(values)
        joined[split] = {
            holder: {name: median_low([one[name] for one in several]) for name in several[0]}
            for holder, several in said.items()
        }
    return joined


def _is_large(tensor: Tensor) -> bool:
    return tensor.numel() > 0 and float(tensor.abs().max()) > LARGE
