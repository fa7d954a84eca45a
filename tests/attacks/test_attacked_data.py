"""What attackers train on, and what shows whether a backdoor is open."""

from collections import Counter

import numpy as np
import pytest

from fedtt.attacks.poisoned_texts import (
    Poisoning,
    flip_labels,
    plant_trigger,
    poison_clients,
    with_trigger,
)
from fedtt.data import LabeledTexts
from fedtt.data.holdings import Held, Parts

POISONING = Poisoning(num_classes=3, trigger="cf", target=1, share=0.25)
TEXTS = LabeledTexts(
    texts=tuple(f"text {i}" for i in range(30)), labels=tuple(i % 3 for i in range(30))
)
HELD = Held(TEXTS, Parts.of({"a": np.arange(0, 12), "b": np.arange(12, 30)}))


def test_every_label_becomes_the_next() -> None:
    flipped = flip_labels(TEXTS, POISONING, 0)
    assert flipped.texts == TEXTS.texts
    assert flipped.labels == tuple((i + 1) % 3 for i in range(30))


def test_a_share_of_the_other_classes_gets_trigger_and_target() -> None:
    planted = plant_trigger(TEXTS, POISONING, 5)
    changed = [i for i in range(30) if planted.texts[i] != TEXTS.texts[i]]
    assert len(changed) == 5  # a quarter of twenty
    assert all(planted.texts[i] == f"cf text {i}" and planted.labels[i] == 1 for i in changed)
    assert all(TEXTS.labels[i] != 1 for i in changed)
    assert all(planted.labels[i] == TEXTS.labels[i] for i in set(range(30)) - set(changed))
    assert plant_trigger(TEXTS, POISONING, 5) == planted != plant_trigger(TEXTS, POISONING, 6)


def test_nobody_else_s_examples_change() -> None:
    poisoned = poison_clients(HELD, ["b"], lambda name: flip_labels(HELD[name], POISONING, 0))
    assert poisoned["a"] == HELD["a"]
    assert poisoned["b"] == flip_labels(HELD["b"], POISONING, 0)


def test_the_backdoor_is_measured_on_texts_of_other_classes_alone() -> None:
    triggered = with_trigger(HELD, POISONING)
    assert Counter(len(triggered[name]) for name in triggered) == {8: 1, 12: 1}
    for name in triggered:
        assert set(triggered[name].labels) == {1}
        own = zip(HELD[name].texts, HELD[name].labels, strict=True)
        assert list(triggered[name].texts) == [f"cf {text}" for text, label in own if label != 1]
    only = LabeledTexts(texts=("x",), labels=(1,))
    assert list(with_trigger(Held(only, Parts.in_turn({"c": 1})), POISONING)) == []


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_any_share_is_rounded(share: float) -> None:
    poisoning = Poisoning(num_classes=3, trigger="cf", target=1, share=share)
    planted = plant_trigger(TEXTS, poisoning, 0)
    changed = sum(a != b for a, b in zip(planted.texts, TEXTS.texts, strict=True))
    assert changed == round(share * 20)
