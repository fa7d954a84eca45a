"""The loss of a task with classes, and logit adjustment."""

import torch
from torch import nn

from fedtt.tasks import classification, log_prior


def loss_of(logits: torch.Tensor, labels: torch.Tensor, **options: object) -> torch.Tensor:
    task = classification(tokenizer=None, pad_token_id=0)  # type: ignore[arg-type]  # reads no text
    return task.loss(logits, {"labels": labels}, **options)  # type: ignore[arg-type]


def test_the_loss_is_the_mean_cross_entropy() -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [-1.0, 1.0]]), torch.tensor([0, 1])
    expected = -torch.log(torch.tensor([1 / (1 + torch.e**-2), 1 / (1 + torch.e**-2)])).mean()
    torch.testing.assert_close(loss_of(logits, labels), expected)


def test_logit_adjustment_adds_the_log_prior_to_the_training_logits() -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [-1.0, 1.0]]), torch.tensor([0, 1])
    value = loss_of(logits, labels, shift=log_prior([94, 4], strength=2.0))
    prior = torch.tensor([0.95, 0.05])  # counts smoothed by one
    expected = nn.functional.cross_entropy(logits + 2.0 * prior.log(), labels)
    torch.testing.assert_close(value, expected)


def test_a_client_that_predicts_its_own_prior_has_nothing_to_learn_but_the_rest() -> None:
    """With the adjustment, equal logits are the best answer to labels drawn at the prior."""
    labels = torch.tensor([0] * 95 + [1] * 5)
    logits = torch.zeros(100, 2, requires_grad=True)
    loss_of(logits, labels, shift=log_prior([94, 4], strength=1.0)).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.sum(dim=0), torch.zeros(2), atol=1e-6, rtol=0)
