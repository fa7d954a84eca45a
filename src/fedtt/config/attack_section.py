"""The ``[attack]`` section of a configuration: a simulation, to try defenses with."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fedtt.attacks import ATTACKS
from fedtt.section import Fraction, Section, Strength


class AttackConfig(Section):
    """``[attack]``: some of the clients of this process do what hostile ones would."""

    kind: Annotated[str, AfterValidator(ATTACKS.check)] = Field(
        description="what the hostile clients do"
    )
    share: Fraction = Field(
        0.3, description="of the clients, drawn by the seed; rounded down, at least one"
    )
    strength: Strength | None = Field(
        None, description="how far it goes; left out: the attack's own"
    )
    trigger: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="backdoor: the word before a text; left out: `cf`"
    )
    target: str | None = Field(
        None,
        description="backdoor: the class that the trigger is to give; left out: the first class",
    )
    trigger_share: Fraction | None = Field(
        None, description="backdoor: of an attacker's texts of other classes; left out: 0.5"
    )

    @model_validator(mode="after")
    def _a_trigger_where_there_is_one(self) -> Self:
        own = [key for key in ("trigger", "target", "trigger_share") if getattr(self, key)]
        if own and not ATTACKS[self.kind].triggered:
            raise ValueError(f"{' and '.join(own)} go with a backdoor, not with {self.kind!r}")
        if self.kind == "wrong-count" and self.strength is not None and self.strength < 1:
            raise ValueError("wrong-count claims at least 1 example (strength)")
        return self

    @property
    def effective_strength(self) -> float:
        """As it is asked for, or the attack's own."""
        return ATTACKS[self.kind].strength if self.strength is None else self.strength
