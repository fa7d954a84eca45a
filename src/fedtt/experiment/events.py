"""What a run tells whoever watches it. The library itself prints nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunPrepared:
    """Model, data and adapter are ready. ``next_round`` > 0 when the run was resumed.

    ``alone``: every client will also be trained alone, after the rounds. ``sent_bytes``: what the
    rounds before ``next_round`` sent, both ways. ``privacy``: what is guaranteed, and what not.
    """

    rounds: int
    next_round: int
    clients: tuple[str, ...]
    cohort_size: int
    alone: bool
    exchanged_parameters: dict[str, int]
    sent_bytes: int
    notes: tuple[str, ...]
    privacy: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """A client finished a local step. ``alone``: outside the federation, as a baseline."""

    round_index: int
    client_id: str
    step: int
    steps: int
    loss: float
    alone: bool


@dataclass(frozen=True, kw_only=True)
class RoundDone:
    """A round is finished, validated and saved; ``record`` is its line of ``rounds.jsonl``."""

    record: dict[str, Any]
    rounds: int


@dataclass(frozen=True, kw_only=True)
class TrainingDone:
    """The rounds are over; ``validation``: the last that was measured, None where none was."""

    rounds: int
    validation: dict[str, dict[str, float]] | None


@dataclass(frozen=True, kw_only=True)
class BaselineRoundDone:
    """A client trained alone, ``number`` of ``clients`` from 1, finished a round of its own."""

    client_id: str
    number: int
    clients: int
    round_index: int
    rounds: int
    loss: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A measurement on the test split is done: ``before``, ``alone`` or ``test``."""

    what: str
    metrics: dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class SiteNews:
    """Something happened to a site: it joined, was late, was refused, left."""

    site: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A round waits for sites: how many have answered, of how many, for how many seconds more."""

    round_index: int
    answered: int
    asked: int
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class RunDone:
    """The run is over, and its ``summary`` is saved."""

    summary: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TrackerLost:
    """A tracker failed, and is told nothing more."""

    name: str
    error: str


Event = (
    RunPrepared
    | StepDone
    | RoundDone
    | TrainingDone
    | BaselineRoundDone
    | Evaluated
    | SiteNews
    | Waiting
    | RunDone
    | TrackerLost
)
Notify = Callable[[Event], None]
