"""Was this text among them? An attack on a tiny model, against what the accountant allows."""

from collections.abc import Mapping

import dp_accounting
import numpy as np
import torch
from dp_accounting import pld
from torch import Tensor, nn

from fedtt.federated.local.client import Batch
from fedtt.federated.local.private_client import PrivateClient, train_privately
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.privacy.example_step import ExampleMechanism
from fedtt.federated.privacy.keystream import secret_streams

EXAMPLES, BATCH, STEPS, TRIES = 8, 6, 3, 60
NORM = 0.5  # every gradient is longer
CANARY = 4  # the one that has a word that no other has


def features() -> Tensor:
    """Eight texts by their words; the last word is the canary's alone."""
    stream = torch.Generator().manual_seed(5)
    words = torch.randn(EXAMPLES, 6, generator=stream) * 3
    words[:, 5] = 0.0
    words[CANARY] = torch.tensor([0.0, 0, 0, 0, 0, 8])
    return words


def gradients(model: nn.Module, weights: Mapping[str, nn.Parameter], batch: Batch) -> Tensor:
    """Of logistic regression, by hand: ``(p - y) x``."""
    words = batch["input_ids"]
    wrong = (words @ weights["weight"].T).detach().sigmoid()[:, 0] - batch["labels"]
    return wrong[:, None] * words


def learned_of_canary(number: int, *, is_member: bool, noise: float) -> float:
    """The weight of the canary's word after training with it, or without it."""
    words = features()
    members = [i for i in range(EXAMPLES) if is_member or i != CANARY]
    model = nn.Linear(6, 1, bias=False)
    client = PrivateClient(
        start={"weight": torch.zeros(1, 6)},
        mechanism=ExampleMechanism(
            clipping_norm=NORM,
            noise_multiplier=noise,
            # The number of examples is public, and so the same for both.
            examples=EXAMPLES,
            batch_size=BATCH,
            streams=secret_streams(f"{number} {is_member}".encode()),
        ),
        gradients=gradients,
        parts=lambda indices: [
            {"input_ids": words[own], "labels": torch.ones(len(own))}
            for own in [[int(i) for i in indices if int(i) in members]]
        ],
        where="here",
    )
    update = train_privately(
        model,
        client,
        trained=["weight"],
        steps=STEPS,
        learning_rate=1.0,
        training=LocalTraining(optimizer="sgd", weight_decay=0.0),
    )
    return float(update.delta["weight"][0, 5])


def advantage(noise: float) -> float:
    """Right less wrong accusations of who calls large weights members, at the best threshold."""
    told = [
        [learned_of_canary(n, is_member=m, noise=noise) for n in range(TRIES)]
        for m in (False, True)
    ]
    without, with_it = np.sort(told[0]), np.sort(told[1])
    places = np.concatenate([without, with_it])
    missed = np.searchsorted(with_it, places) / TRIES
    left_alone = np.searchsorted(without, places) / TRIES
    return float((left_alone - missed).max())


def most_advantage(noise: float) -> float:
    """What no attack exceeds: the total variation, which is delta at epsilon zero."""
    gaussian = dp_accounting.GaussianDpEvent(noise)
    event = dp_accounting.PoissonSampledDpEvent(BATCH / EXAMPLES, gaussian)
    return float(pld.PLDAccountant().compose(event, STEPS).get_delta(0.0))


def test_the_attack_succeeds_no_better_than_the_accountant_allows() -> None:
    """Nor much worse, or it would find nothing where the noise is too little."""
    chance = 2 * (0.5 / TRIES) ** 0.5  # two standard deviations of a difference of shares
    bound = most_advantage(1.0)
    assert bound - 0.25 < advantage(1.0) < bound + chance


def test_without_noise_it_succeeds_and_the_bound_would_be_broken() -> None:
    found = advantage(1e-30)
    assert found > 0.95
    assert found > most_advantage(1.0) + 0.2
