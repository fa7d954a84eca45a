"""What a site may say in reply to a round, checked before any of it is used."""

from collections.abc import Collection, Mapping, Sequence
from statistics import median_low
from typing import Any

from torch import Tensor

from fedtt.data import SHARED
from fedtt.engine.flower.frames import Frame
from fedtt.engine.flower.measured import Measured
from fedtt.errors import WireError
from fedtt.federated.broadcast import decode_broadcast
from fedtt.federated.round import ClientTask
from fedtt.federated.wire import decode_update

# split -> who holds the examples -> metric -> value
SiteMetrics = dict[str, dict[str, dict[str, float]]]
# What is larger is no outcome of training; sums and products of what is not stay finite.
LARGE = 10**15
LIMITS = "a number of at most 10^15"


def check_updates(
    frame: Frame, tasks: Sequence[ClientTask], *, num_examples: Mapping[str, int]
) -> list[bytes]:
    """One update a task, in their order.

    Raises :class:`WireError` for another number, other parameters than the task's, values that are
    not finite or are huge, or a weight that is not what the site said when it joined.
    """
    if len(frame.blobs) != len(tasks):
        raise WireError(
            "a reply has not one update a client",
            got=len(frame.blobs),
            expected=len(tasks),
        )
    for task, blob in zip(tasks, frame.blobs, strict=True):
        trained = decode_broadcast(task.payload, structure=task.structure).trained
        update = decode_update(blob, expected={n: task.structure[n] for n in sorted(trained)})
        if update.num_examples != num_examples[task.client_id]:
            raise WireError(
                "an update counts other examples than its client has",
                where=task.client_id,
                got=update.num_examples,
                expected=num_examples[task.client_id],
            )
        large = [name for name, tensor in update.delta.items() if _is_large(tensor)]
        if large or abs(update.loss) > LARGE:
            what = large[0] if large else "its loss"
            raise WireError("an update is huge", where=f"{task.client_id}, {what}", expected=LIMITS)
    return list(frame.blobs)


def check_metrics(
    content: Any, *, splits: Sequence[str], own: Collection[str], measured: Measured
) -> SiteMetrics:
    """The measurements of those splits by a site whose clients are ``own``.

    Raises :class:`WireError` for anything else. Of a split that all share a site may speak for
    all instead of for its clients, not besides: that would be two votes.
    """
    if not isinstance(content, dict) or sorted(content) != sorted(splits):
        raise WireError("a reply measures other splits than asked for", expected=list(splits))
    for split, by_holder in content.items():
        holders = set(by_holder) if isinstance(by_holder, dict) else {None}
        for_all = split in measured.shared and holders == {SHARED}
        if not (for_all or holders <= set(own)):
            raise WireError("a reply measures examples of others", expected=sorted(own)[:3])
        for metrics in by_holder.values():
            if not isinstance(metrics, dict) or metrics.keys() != measured.names:
                expected = sorted(measured.names)
                raise WireError("a reply has other metrics than the task", expected=expected)
            if not all(_is_number(value) for value in metrics.values()):
                raise WireError("a metric is no number, or a huge one", expected=LIMITS)
    return {split: {h: dict(m) for h, m in found.items()} for split, found in content.items()}


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


def _is_number(value: object) -> bool:
    # An integer may have thousands of digits in JSON, and then is no float. NaN is not below.
    return type(value) in (int, float) and abs(value) <= LARGE  # type: ignore[arg-type]


def _is_large(tensor: Tensor) -> bool:
    return tensor.numel() > 0 and float(tensor.abs().max()) > LARGE
