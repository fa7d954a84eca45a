"""Attacks on an attacker's training texts, and the texts that show whether a backdoor is open."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedtt.data import LabeledTexts
from fedtt.data.holdings import Held, Parts


@dataclass(frozen=True, kw_only=True)
class Poisoning:
    """``trigger`` is a word, ``target`` the class that it is to give, ``share`` of the texts of
    other classes get it.
    """

    num_classes: int
    trigger: str
    target: int
    share: float


Poison = Callable[[LabeledTexts, Poisoning, int], LabeledTexts]  # with a seed


def flip_labels(texts: LabeledTexts, poisoning: Poisoning, seed: int) -> LabeledTexts:  # noqa: ARG001
    """Every text with the next class, after the last the first."""
    flipped = tuple((label + 1) % poisoning.num_classes for label in texts.labels)
    return replace(texts, labels=flipped)


def plant_trigger(texts: LabeledTexts, poisoning: Poisoning, seed: int) -> LabeledTexts:
    """The trigger before a share of the texts of other classes, drawn by ``seed``, which are then
    of the target (BadNets, Gu et al. 2017, arXiv 1708.06733).
    """
    others = [i for i, label in enumerate(texts.labels) if label != poisoning.target]
    count = round(poisoning.share * len(others))
    chosen = set(random.Random(seed).sample(others, count))
    return replace(
        texts,
        texts=tuple(
            _triggered(text, poisoning) if i in chosen else text
            for i, text in enumerate(texts.texts)
        ),
        labels=tuple(
            poisoning.target if i in chosen else label for i, label in enumerate(texts.labels)
        ),
    )


def with_trigger(held: Held[LabeledTexts], poisoning: Poisoning) -> Held[LabeledTexts]:
    """The texts of other classes, each with the trigger and of the target: a model that has them
    right has been fooled. Holders that have none are left out.
    """
    pool = held.pool
    other = np.array([label != poisoning.target for label in pool.labels], dtype=bool)
    everywhere = replace(
        pool,
        texts=tuple(_triggered(text, poisoning) for text in pool.texts),
        labels=(poisoning.target,) * len(pool),
    )
    parts = {name: positions[other[positions]] for name, positions in held.parts.items()}
    return Held(everywhere, Parts.of({name: own for name, own in parts.items() if len(own)}))


def poison_clients(
    held: Held[LabeledTexts], attackers: Sequence[str], poisoned: Callable[[str], LabeledTexts]
) -> Held[LabeledTexts]:
    """The same examples, but of every attacker those that ``poisoned`` makes of its own."""
    texts, labels = list(held.pool.texts), list(held.pool.labels)
    for name in attackers:
        own = poisoned(name)
        for place, text, label in zip(held.parts[name], own.texts, own.labels, strict=True):
            texts[place], labels[place] = text, label
    return Held(replace(held.pool, texts=tuple(texts), labels=tuple(labels)), held.parts)


def _triggered(text: str, poisoning: Poisoning) -> str:
    return f"{poisoning.trigger} {text}"
