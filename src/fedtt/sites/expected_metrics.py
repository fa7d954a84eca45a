"""What sites measure, as the server knows it without any data: which metrics, and whose examples.

A site that chose its metrics' names could have others left out, or make a run unreadable.
"""

from dataclasses import dataclass

import numpy as np

from fedtt.config import RunConfig
from fedtt.data import SHARED, TASKS
from fedtt.engine.build import Federation
from fedtt.metrics import classification_metrics
from fedtt.tasks import Task

_ZERO, _WORD = np.zeros(1), np.array(["-"], dtype=object)
_CLASS = np.zeros(1, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What sites measure: the ``names`` of the task's metrics, and the splits that all share."""

    names: frozenset[str]
    shared: frozenset[str]


def measured_in(config: RunConfig, federation: Federation) -> Measured:
    """What the sites of the run measure, be they shares of the server's data or have files."""
    shared = {split for split, held in federation.splits.items() if SHARED in held}
    if config.data.test_path is not None:
        shared.add("test")
    names = metric_names(federation.task)
    if not any(len(held.pool) for held in federation.splits.values()):
        names = _of_files(names, config)
    return Measured(names=names, shared=frozenset(shared))


def metric_names(task: Task) -> frozenset[str]:
    """What the task's metrics are called: those of one made-up example."""
    scores = _ZERO if task.class_logits is None else np.zeros((1, 2))
    example = {"scores": scores, "label": _CLASS, "loss": _ZERO, "target": _ZERO, "group": _WORD}
    tokens = {"nats": _ZERO, "tokens": _ZERO, "exact_match": _ZERO, "f1": _ZERO}
    return frozenset(task.metrics({**example, **tokens}))


def _of_files(names: frozenset[str], config: RunConfig) -> frozenset[str]:
    """Without what only a named task has: a site with a file takes the file in place of it."""
    if config.data.source not in TASKS:
        return names
    if config.task.has_classes:
        return frozenset({*classification_metrics(_CLASS, _CLASS), "loss"})
    return names if config.task.answers else names - {"exact_match", "f1"}
