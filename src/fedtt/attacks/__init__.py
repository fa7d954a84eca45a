"""Attacks to try defenses with, by name: ``attack.kind`` of a configuration. Loads no torch.

They are simulations: clients of this process do what a hostile one would. To add one, write it in a
file of its own, and give it a row in the table.
"""

from fedtt.attacks.attack_row import AttackRow
from fedtt.registry import Registry

BACKDOOR_SUCCESS = "backdoor success"  # among the metrics, where there is a trigger

_HERE = "fedtt.attacks"
_OWN = f"{_HERE}.own_update"
ATTACKS: Registry[AttackRow] = Registry(
    "attack",
    {
        "sign-flip": AttackRow(forged_by=f"{_OWN}:flip_sign", strength=1.0),
        "scaled-update": AttackRow(forged_by=f"{_OWN}:scale_up", strength=10.0),
        "gaussian": AttackRow(forged_by=f"{_OWN}:random_direction", strength=10.0),
        "free-rider": AttackRow(forged_by=f"{_OWN}:noise_alone", strength=0.0),
        "wrong-count": AttackRow(forged_by=f"{_OWN}:claim_examples", strength=1e6),
        "stale-replay": AttackRow(forged_by=f"{_OWN}:first_again", strength=1.0, remembers=True),
        "mean-shift": AttackRow(forged_by=f"{_HERE}.colluding:shift_mean", strength=1.5),
        "label-flip": AttackRow(
            forged_by=f"{_OWN}:scale_up",
            strength=1.0,
            poisoned_by=f"{_HERE}.poisoned_texts:flip_labels",
        ),
        "backdoor": AttackRow(
            forged_by=f"{_OWN}:scale_up",
            strength=1.0,
            poisoned_by=f"{_HERE}.poisoned_texts:plant_trigger",
            triggered=True,
        ),
    },
    group="fedtt.attacks",
    accepts=lambda row: isinstance(row, AttackRow),
)
