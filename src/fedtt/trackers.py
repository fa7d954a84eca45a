"""Trackers by name: what else hears of a run, beside its own files and the terminal.

A row is a function from the run's directory and its configuration to a context manager, which gives
a function of the run's events (``fedtt.experiment.events``) and ends with the run. fedtt itself
brings none: ``register`` or an entry point adds them, and ``track.to`` names those of a run.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fedtt.registry import Registry

OpenTracker = Callable[[Path, dict[str, Any]], AbstractContextManager[Callable[[Any], None]]]

TRACKERS: Registry[OpenTracker] = Registry("tracker", {}, group="fedtt.trackers")
