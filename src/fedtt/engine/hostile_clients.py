"""Who attacks in a simulated attack, and what a federation has of it. No client of a site does."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor

from fedtt.attacks import ATTACKS
from fedtt.attacks.attack_row import AttackRow
from fedtt.attacks.poisoned_texts import Poisoning, poison_clients, with_trigger
from fedtt.config.attack_section import AttackConfig
from fedtt.data import FederatedData, Held, LabeledTexts
from fedtt.errors import ConfigError
from fedtt.federated.method import Method
from fedtt.federated.schedules.everything import all_parameters
from fedtt.seeds import derive_seed

TRIGGERED = "{} with the trigger"  # a split of texts that show whether the backdoor is open
TRIGGER, TRIGGER_SHARE = "cf", 0.5


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """``clients`` attack; ``seed`` is the run's. ``poisoning`` is what a trigger is and does."""

    kind: str
    strength: float
    clients: tuple[str, ...]
    seed: int
    poisoning: Poisoning

    @property
    def row(self) -> AttackRow:
        """The attack's row in the table."""
        return ATTACKS[self.kind]

    def described(self, population: int) -> str:
        """In one line, for whoever reads the results."""
        return (
            f"SIMULATED ATTACK: {self.kind} (strength {self.strength:g}) by {len(self.clients)} of "
            f"{population} clients: {', '.join(self.clients)}"
        )


def hostile_clients(config: AttackConfig, data: FederatedData, *, seed: int) -> Hostile:
    """Who attacks, drawn by ``seed``. Raises :class:`ConfigError` for a class there is not."""
    names = data.client_ids
    count = max(1, floor(Fraction(str(config.share)) * len(names)))
    drawn = random.Random(derive_seed(seed, "attackers")).sample(range(len(names)), count)
    return Hostile(
        kind=config.kind,
        strength=config.effective_strength,
        clients=tuple(names[position] for position in sorted(drawn)),
        seed=seed,
        poisoning=Poisoning(
            num_classes=len(data.label_names),
            trigger=config.trigger or TRIGGER,
            target=_class_of(config.target, data.label_names),
            share=config.trigger_share or TRIGGER_SHARE,
        ),
    )


def poisoned_data(data: FederatedData, hostile: Hostile) -> FederatedData:
    """The data, with what the attackers train on; validation and test stay."""
    poison = hostile.row.poison
    if poison is None:
        return data

    def poisoned(name: str) -> LabeledTexts:
        seed = derive_seed(hostile.seed, "poison", name)
        return poison(data.train[name], hostile.poisoning, seed)

    return replace(data, train=poison_clients(data.train, hostile.clients, poisoned))


def triggered_splits(
    texts: Mapping[str, Held[LabeledTexts]], hostile: Hostile | None
) -> dict[str, Held[LabeledTexts]]:
    """The validation and test texts that show whether the backdoor is open, by split's name."""
    if hostile is None or not hostile.row.triggered:
        return {}
    return {
        TRIGGERED.format(split): with_trigger(texts[split], hostile.poisoning)
        for split in ("validation", "test")
    }


def check_attack(config: AttackConfig | None, method: Method) -> None:
    """Raise :class:`ConfigError` for an attack that has no meaning with the method."""
    if config is None or not ATTACKS[config.kind].remembers:
        return
    if method.schedule is not all_parameters:
        raise ConfigError(
            f"{config.kind} sends an update of an earlier round, and those are of other parameters",
            where="attack.kind",
            got=f"method {method.name!r}",
            expected="a method that trains everything in every round",
            fix="another method or another attack",
        )


def check_no_attack(config: AttackConfig | None, *, elsewhere: str) -> None:
    """Raise :class:`ConfigError` for an attack outside a simulation in this process."""
    if config is not None:
        raise ConfigError(
            "[attack] is a simulation, and no real client is to attack",
            where="attack",
            got=f"{config.kind}, {elsewhere}",
            expected="fedtt train or fedtt compare, all clients in one process",
            fix="leave [attack] out",
        )


def _class_of(name: str | None, label_names: Sequence[str]) -> int:
    if name is None:
        return 0
    if name not in label_names:
        raise ConfigError(
            "the backdoor's target is no class",
            where="attack.target",
            got=name,
            expected=", ".join(label_names[:10]),
        )
    return list(label_names).index(name)
