"""What a configuration has to know of an attack."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedtt.registry import built_by

if TYPE_CHECKING:
    from fedtt.attacks.forging import Forge
    from fedtt.attacks.poisoned_texts import Poison


@dataclass(frozen=True, kw_only=True)
class AttackRow:
    """``forged_by``, ``"module:function"``, makes what attackers send of what they trained, and
    ``poisoned_by``, if any, what they train on of their texts; ``strength`` is the default of what
    it has of that. ``triggered``: the model is to answer wrongly where a trigger is in the text.
    ``remembers``: attackers go back to the first update that they made.
    """

    forged_by: str
    strength: float
    poisoned_by: str | None = None
    triggered: bool = False
    remembers: bool = False

    @property
    def forge(self) -> "Forge":
        """The function, imported now."""
        found: Forge = built_by(self.forged_by)
        return found

    @property
    def poison(self) -> "Poison | None":
        """The function, imported now."""
        if self.poisoned_by is None:
            return None
        found: Poison = built_by(self.poisoned_by)
        return found
