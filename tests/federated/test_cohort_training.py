"""The parts of the batched trainer; that it equals clients one by one is in tests/engine."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from fedtt.errors import FedttError
from fedtt.federated.local.client import Batch
from fedtt.federated.local.forward_groups import ForwardLimits
from fedtt.federated.local.needed_logits import LogitLoss
from fedtt.federated.local.stacked_cohort import (
    CohortClient,
    SharedForward,
    client_losses,
    train_cohort,
)
from fedtt.federated.local.stacked_state import StackedState
from fedtt.federated.local.step import LocalTraining

LIMITS = ForwardLimits(max_tokens=100, forward_worth=0)


def mean_loss(
    logits: torch.Tensor, batch: Batch, shift: torch.Tensor | None = None
) -> torch.Tensor:
    return nn.functional.cross_entropy(logits if shift is None else logits + shift, batch["labels"])


def client(value: float) -> CohortClient:
    return CohortClient(
        start={"bias": torch.zeros(2), "weight": torch.full((2, 2), value)},
        batches=iter([]),
        num_examples=1,
        dropout_seed=0,
        where=f"client {value:.0f}",
        loss=LogitLoss(of=mean_loss),
    )


def test_clients_must_share_what_they_do_not_train() -> None:
    with pytest.raises(FedttError, match=r"where: client 2, weight\n  expected: those of client 1"):
        train_cohort(
            nn.Linear(2, 2),
            [client(1.0), client(2.0)],
            trained=["bias"],
            learning_rate=0.1,
            training=LocalTraining(),
            sharing=SharedForward(stack=lambda batches: batches[0], limits=LIMITS, draws=False),
        )


def test_rows_that_fill_a_batch_up_have_no_gradient_at_all() -> None:
    logits = torch.randn(6, 3, requires_grad=True)  # clients of 3 and 1 rows, filled up to 3
    labels = torch.tensor([0, 1, 2, 2, 2, 2])
    losses = [mean_loss, partial(mean_loss, shift=torch.zeros(3))]
    means = client_losses(logits, {"labels": labels}, rows=[3, 1], losses=losses)
    first = nn.functional.cross_entropy(logits[:3], labels[:3])
    torch.testing.assert_close(means, torch.stack([first, -logits[3].log_softmax(0)[2]]))
    (gradient,) = torch.autograd.grad(means.sum(), logits)
    assert torch.equal(gradient[4:], torch.zeros(2, 3))
    assert gradient[:4].all()


def test_a_parameter_without_a_gradient_is_not_decayed() -> None:
    """As a plain optimizer, which passes it over; a gradient of zeros is another matter."""
    training = LocalTraining(optimizer="adamw", weight_decay=0.5, max_grad_norm=None)
    starts = [{"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(1)} for _ in range(2)]
    state = StackedState(starts, training=training, learning_rate=0.1, device=torch.device("cpu"))
    for _ in range(2):
        state.take_gradient([0, 1], [torch.ones(2, 2), None, torch.zeros(2, 1)])
        state.step()
    state.end(0)
    state.end(1)
    delta = state.deltas()[1]
    assert torch.equal(delta["b"], torch.zeros(3))
    assert delta["c"].item() == pytest.approx(0.95**2 - 1)  # (1 - 0.1 * 0.5) squared
    assert (delta["a"] < -0.2).all()


def test_each_client_is_clipped_by_its_own_norm() -> None:
    training = LocalTraining(optimizer="sgd", weight_decay=0.0, max_grad_norm=5.0)
    starts = [{"a": torch.zeros(1), "b": torch.zeros(1)} for _ in range(2)]
    state = StackedState(starts, training=training, learning_rate=1.0, device=torch.device("cpu"))
    state.take_gradient([0, 1], [torch.tensor([[6.0], [0.3]]), torch.tensor([[8.0], [0.4]])])
    state.step()  # norms 10 and 0.5
    state.end(0)
    state.end(1)
    first, second = state.deltas()
    assert [first["a"].item(), first["b"].item()] == pytest.approx([-3.0, -4.0])
    assert [second["a"].item(), second["b"].item()] == pytest.approx([-0.3, -0.4])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_column_moves_at_its_own_rate(optimizer: str) -> None:
    """As the columns of each factor do by themselves, in rows of several clients, bit for bit."""
    stream = torch.Generator().manual_seed(3)
    names, shape = ["a", "b", "c", "d"], (2, 3)
    factors = {"b": 8.0, "d": 8.0, "c": 0.5}
    training = LocalTraining(optimizer=optimizer, weight_decay=0.1, max_grad_norm=None)
    starts = [{n: torch.randn(shape, generator=stream) for n in names} for _ in range(2)]
    gradients = [[torch.randn(2, *shape, generator=stream) for _ in names] for _ in range(3)]

    def deltas(training: LocalTraining, kept: list[str], *, rate: float) -> dict:
        own = [{name: start[name] for name in kept} for start in starts]
        state = StackedState(own, training=training, learning_rate=rate, device=torch.device("cpu"))
        for step in gradients:
            state.take_gradient([0, 1], [step[names.index(name)] for name in kept])
            state.step()
        state.end(0)
        state.end(1)
        return state.deltas()[1]

    found = deltas(replace(training, factors=factors), names, rate=0.01)
    for name in names:
        alone = deltas(training, [name], rate=0.01 * factors.get(name, 1.0))
        assert torch.equal(found[name], alone[name]), name
