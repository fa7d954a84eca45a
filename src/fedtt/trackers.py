"""Trackers by name: what else hears of a run, beside its own files and the terminal.

A row is a function from the run's directory and its configuration to a context manager, which gives
a function of the run's events (``fedtt.experiment.events``) and ends with the run. ``track.to``
names those of a run. One of ours that needs packages is called as the extra that brings them.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fedtt.extras import EXTRAS, check_extra
from fedtt.registry import Registry

OpenTracker = Callable[[Path, dict[str, Any]], AbstractContextManager[Callable[[Any], None]]]

TRACKERS: Registry[OpenTracker] = Registry(
    "tracker",
    {
        "tensorboard": "fedtt.experiment.tracking.tensorboard_tracker:follow_in_tensorboard",
        "mlflow": "fedtt.experiment.tracking.mlflow_tracker:follow_in_mlflow",
        "wandb": "fedtt.experiment.tracking.wandb_tracker:follow_in_wandb",
    },
    group="fedtt.trackers",
)


def extras_of_trackers(names: Iterable[str]) -> tuple[str, ...]:
    """The extras that bring what these trackers need."""
    return tuple(name for name in names if name in TRACKERS.own_names and name in EXTRAS)


def check_trackers(names: Iterable[str]) -> None:
    """Raise :class:`FedttError` for one that could not be opened: its packages are not there, or
    the package that brings it is broken.
    """
    names = tuple(names)
    for extra in extras_of_trackers(names):
        check_extra(extra)
    for name in names:
        TRACKERS[name]
