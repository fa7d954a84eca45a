"""What a site may say in reply to a round, checked before any of it is used."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedtt.engine.flower.frames import Frame
from fedtt.errors import WireError
from fedtt.federated.broadcast import decode_broadcast
from fedtt.federated.round import ClientTask
from fedtt.federated.wire import decode_update

# split -> who holds the examples -> metric -> value
SiteMetrics = dict[str, dict[str, dict[str, float]]]
MAX_NAMES = 64
LARGE = 10**15


def check_updates(
    frame: Frame, tasks: Sequence[ClientTask], *, num_examples: Mapping[str, int]
) -> list[bytes]:
    """One update a task, in their order.

    Raises :class:`WireError` for another number, other parameters than the task's, values that are
    not finite, or a weight that is not what the site said when it joined.
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
    return list(frame.blobs)


def check_metrics(content: Any, *, splits: Sequence[str], holders: Sequence[str]) -> SiteMetrics:
    """The site's measurements of those splits. Raises :class:`WireError` for anything else."""
    if not isinstance(content, dict) or sorted(content) != sorted(splits):
        raise WireError("a reply measures other splits than asked for", expected=list(splits))
    for by_holder in content.values():
        if not isinstance(by_holder, dict) or not set(by_holder) <= set(holders):
            raise WireError("a reply measures examples of others", expected=list(holders)[:3])
        for metrics in by_holder.values():
            if not isinstance(metrics, dict) or not 0 < len(metrics) <= MAX_NAMES:
                raise WireError("a reply has no metrics, or too many")
            if not all(_is_number(value) for value in metrics.values()):
                raise WireError("a metric is not a finite number")
    return {split: {h: dict(m) for h, m in found.items()} for split, found in content.items()}


def _is_number(value: object) -> bool:
    # An integer may have thousands of digits in JSON, and then is no float.
    if type(value) is int:
        return abs(value) < LARGE
    return type(value) is float and math.isfinite(value)
