"""The one number that stands for a task."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Score:
    """The one metric by which a task is judged where there has to be one."""

    name: str
    higher_is_better: bool


# 1 where every example got the same answer though not all are the same, else 0: a collapsed model
CONSTANT = "constant"
ACCURACY = Score(name="accuracy", higher_is_better=True)
