"""Gradients of single examples, stacked, against one example's backward after another's."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedtt.config import RunConfig
from fedtt.data import collate
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.client_work import loss_function
from fedtt.federated.local.alone import freeze_all_but
from fedtt.federated.local.client import Batch
from fedtt.federated.local.example_gradients import gradients_one_by_one, stacked_gradients
from fedtt.federated.local.moving import InSubspace
from fedtt.federated.local.stackable import try_stacking
from fedtt.federated.local.step import LocalTraining
from fedtt.params import select, structure_of

MakeConfig = Callable[..., RunConfig]
TT = {"name": "fedtt", "rank": 2, "bottleneck": 8}
LORA = {"name": "lora", "rank": 2}
METATT = {"name": "metatt", "rank": 3}
METHODS = [TT, LORA, METATT, {"name": "head"}]


def encoder(make_config: MakeConfig, method: Mapping[str, Any]) -> Federation:
    return build_federation(make_config(method=method))


def causal(make_config: MakeConfig, place: Path, method: Mapping[str, Any]) -> Federation:
    model = {"name": str(place), "max_length": 16, "device": "cpu", "dtype": "float32"}
    task = {"kind": "label-words", "words": ["bad", "good"], "prompt": "{text} was"}
    return build_federation(make_config(model=model, task=task, method=method))


def texts_of(federation: Federation, rows: int = 5) -> tuple[Batch, Any]:
    """Texts of different lengths, and the loss of their client."""
    data = federation.splits["train"]["south"]
    batch = collate(data, np.arange(rows), pad_token_id=int(federation.tokenizer.pad_token_id))
    assert (batch["attention_mask"] == 0).any()  # or padding would be of no account
    return batch, federation.loss(data)


def off_zero(federation: Federation) -> dict[str, torch.nn.Parameter]:
    """What trains, moved from where half of its gradients are zero. Changes the model."""
    names = federation.method.trained(federation.initial)
    weights = freeze_all_but(federation.model, names)
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in weights.values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=stream))
    federation.model.eval()
    return weights


def plainly(federation: Federation, weights: Mapping[str, Any], batch: Batch, loss: Any) -> Any:
    """Row by row, by ``backward``, of one text without its padding."""
    rows = []
    for index in range(len(batch["labels"])):
        for weight in weights.values():
            weight.grad = None
        length = int(batch["attention_mask"][index].sum())
        own = {
            key: value[index : index + 1, :length] if value.ndim == 2 else value[index : index + 1]
            for key, value in batch.items()
        }
        loss_function(loss)(federation.model, own).backward()
        rows.append(torch.cat([weight.grad.flatten() for weight in weights.values()]))
    return torch.stack(rows)


def check(federation: Federation) -> None:
    batch, loss = texts_of(federation)
    weights = off_zero(federation)
    start = {name: weight.detach().clone() for name, weight in weights.items()}
    start = {**federation.initial.params, **start}
    assert try_stacking(federation.model, start, frozenset(weights), batch) is not None
    federation.model.eval()
    expected = plainly(federation, weights, batch, loss)
    assert float(expected.norm(dim=1).min()) > 1e-4
    for gradients in (stacked_gradients(loss), gradients_one_by_one(loss_function(loss))):
        found = gradients(federation.model, weights, batch)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_of_an_encoder(make_config: MakeConfig, method: Mapping[str, Any]) -> None:
    check(encoder(make_config, method))


@pytest.mark.parametrize(
    "method",
    [TT, *(pytest.param(own, marks=pytest.mark.slow) for own in METHODS[1:3])],
    ids=lambda method: method["name"],
)
def test_of_a_causal_model(
    make_config: MakeConfig, tiny_llama: Path, method: Mapping[str, Any]
) -> None:
    check(causal(make_config, tiny_llama, method))


def test_of_the_numbers_of_a_subspace(make_config: MakeConfig) -> None:
    """As autograd has them, of the loss as a function of the numbers."""
    method = {**LORA, "subspace": {"size": 40}}
    federation = encoder(make_config, method)
    batch, loss = texts_of(federation, rows=3)
    weights = off_zero(federation)
    origin = {name: weight.detach().clone() for name, weight in weights.items()}
    subspace = federation.method.subspace
    assert subspace is not None
    projection = subspace.projection(structure_of(select(origin, origin)), 0)
    moving = InSubspace(
        weights, origin, projection=projection, training=LocalTraining(), learning_rate=0.1
    )
    ordered = {name: weights[name] for name in moving.names}
    found = moving.reduce(stacked_gradients(loss)(federation.model, ordered, batch))
    for index in range(3):
        theta = torch.zeros(1, 40, requires_grad=True)
        change = projection.split(projection.expand(theta)[0])
        logits = torch.func.functional_call(
            federation.model,
            {name: origin[name] + change[name] for name in origin},
            kwargs={k: v[index : index + 1] for k, v in batch.items() if k != "labels"},
        ).logits
        loss.of(logits, {"labels": batch["labels"][index : index + 1]}).backward()
        torch.testing.assert_close(found[index], theta.grad[0], rtol=1e-3, atol=1e-6)
