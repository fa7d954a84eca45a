"""The client's loop against plain PyTorch, and what it must leave alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fedtt import params as p
from fedtt.errors import DivergenceError
from fedtt.federated.local.alone import train_locally
from fedtt.federated.local.client import Batch, LocalClient
from fedtt.federated.local.kept_moments import moments_structure
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.types import ClientUpdate

ADAMW = LocalTraining(optimizer="adamw", weight_decay=0.1, max_grad_norm=0.5)


def make_model(dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 3))


def make_batches(count: int, *, size: int = 8) -> list[Batch]:
    generator = torch.Generator().manual_seed(9)
    return [
        {
            "x": torch.randn(size, 4, generator=generator),
            "y": torch.randint(0, 3, (size,), generator=generator),
        }
        for _ in range(count)
    ]


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch["x"]), batch["y"])


def train(
    model: nn.Module, names: list[str], batches: list[Batch], **changes: object
) -> ClientUpdate:
    options = {"learning_rate": 0.05, "training": ADAMW}
    options |= {key: value for key, value in changes.items() if key in {*options, "trained"}}
    client = client_of(
        p.read_params(model, names),
        batches,
        **{key: value for key, value in changes.items() if key not in options},
    )
    return train_locally(model, client, **options)


def client_of(start: p.Params, batches: list[Batch], **changes: object) -> LocalClient:
    values = {
        "start": start,
        "batches": batches,
        "num_examples": 40,
        "dropout_seed": 1,
        "where": "round 2, client b",
        "loss": loss_of,
        **changes,
    }
    return LocalClient(**values)


ALL = ["0.bias", "0.weight", "3.bias", "3.weight"]


def test_one_client_is_plain_centralized_training() -> None:
    model, twin = make_model(), make_model()
    update = train(model, ALL, make_batches(5))

    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.05, weight_decay=0.1)
    losses = []
    for batch in make_batches(5):
        optimizer.zero_grad()
        loss = loss_of(twin, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())

    expected = p.read_params(twin, ALL)
    start = p.read_params(make_model(), ALL)
    for name in ALL:
        # Up to rounding: the local optimizer is the fused one, the twin's is not.
        torch.testing.assert_close(p.read_params(model, ALL)[name], expected[name])
        torch.testing.assert_close(start[name] + update.delta[name], expected[name])
    assert update.loss == pytest.approx(sum(losses) / 5)
    assert (update.num_steps, update.num_examples) == (5, 40)


def test_factors_are_those_of_the_optimizers_groups() -> None:
    model, twin = make_model(), make_model()
    fast = replace(ADAMW, factors={"3.weight": 4.0, "3.bias": 0.25})
    update = train(model, ALL, make_batches(5), training=fast)

    rates = {"3.weight": 0.2, "3.bias": 0.0125}
    groups = [{"params": [w], "lr": rates.get(n, 0.05)} for n, w in twin.named_parameters()]
    optimizer = torch.optim.AdamW(groups, lr=0.05, weight_decay=0.1)
    for batch in make_batches(5):
        optimizer.zero_grad()
        loss_of(twin, batch).backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        optimizer.step()
    expected, start = p.read_params(twin, ALL), p.read_params(make_model(), ALL)
    for name in ALL:
        torch.testing.assert_close(start[name] + update.delta[name], expected[name])


def test_factors_of_one_change_no_bit() -> None:
    plain = train(make_model(), ALL, make_batches(4))
    ones = replace(ADAMW, factors=dict.fromkeys(ALL, 1.0))
    same = train(make_model(), ALL, make_batches(4), training=ones)
    assert all(torch.equal(plain.delta[name], same.delta[name]) for name in ALL)


def test_a_client_that_keeps_its_optimizer_trains_as_if_no_round_had_ended() -> None:
    fast = replace(ADAMW, factors={"3.weight": 4.0})
    start = p.read_params(make_model(), ALL)
    whole = train(make_model(), ALL, make_batches(6), training=fast)

    def second(first: ClientUpdate, kept: p.Params | None) -> p.Params:
        between = {name: start[name] + first.delta[name] for name in ALL}
        client = client_of(between, make_batches(6)[3:], kept=kept)
        update = train_locally(make_model(), client, learning_rate=0.05, training=fast)
        assert (update.kept == {}) is (kept is None)
        return {name: between[name] + update.delta[name] for name in ALL}

    first = train(make_model(), ALL, make_batches(6)[:3], training=fast, kept={})
    assert first.kept["step/3.bias"].item() == 3
    kept, fresh = second(first, first.kept), second(first, None)
    for name in ALL:
        torch.testing.assert_close(kept[name], start[name] + whole.delta[name])
        assert (fresh[name] - kept[name]).abs().max() > 1e-2


def test_zeros_are_an_optimizer_that_starts_afresh() -> None:
    zeros = p.zeros(moments_structure(p.structure_of(p.read_params(make_model(), ALL))))
    plain = train(make_model(), ALL, make_batches(4))
    same = train(make_model(), ALL, make_batches(4), kept=zeros)
    assert all(torch.equal(plain.delta[name], same.delta[name]) for name in ALL)


def test_what_is_not_exchanged_is_bit_identical_even_with_weight_decay_and_momentum() -> None:
    model = make_model()
    before = p.read_params(model, ALL)
    update = train(model, ["3.weight"], make_batches(6))
    after = p.read_params(model, ALL)
    assert list(update.delta) == ["3.weight"]
    assert not torch.equal(after["3.weight"], before["3.weight"])
    frozen = [name for name in ALL if name != "3.weight"]
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    assert all(model.get_parameter(name).grad is None for name in frozen)


def test_gradient_is_clipped_to_the_given_norm() -> None:
    sgd = LocalTraining(optimizer="sgd", weight_decay=0.0, max_grad_norm=0.01)
    update = train(make_model(), ALL, make_batches(1), training=sgd, learning_rate=1.0)
    norm = torch.cat([tensor.flatten() for tensor in update.delta.values()]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-3)


def test_start_overwrites_what_the_client_before_left_in_the_model() -> None:
    model = make_model()
    start = p.read_params(model, ALL)
    options = {"learning_rate": 0.05, "training": ADAMW}
    first = train_locally(model, client_of(start, make_batches(3)), **options)
    second = train_locally(model, client_of(start, make_batches(3)), **options)
    assert all(torch.equal(first.delta[name], second.delta[name]) for name in ALL)


def test_dropout_has_its_own_stream() -> None:
    def delta(seed: int) -> Tensor:
        return train(make_model(0.5), ALL, make_batches(3), dropout_seed=seed).delta["0.weight"]

    torch.manual_seed(0)
    expected_global = torch.rand(3)
    torch.manual_seed(0)
    first = delta(1)
    assert torch.equal(torch.rand(3), expected_global)
    assert torch.equal(delta(1), first)
    assert not torch.equal(delta(2), first)


def test_divergence_names_round_client_and_step() -> None:
    batches = make_batches(3)
    batches[2]["x"][0, 0] = float("nan")
    with pytest.raises(
        DivergenceError, match=r"where: round 2, client b, step 2\n  got: a loss of nan"
    ):
        train(make_model(), ALL, batches)


def test_an_update_that_overflows_is_divergence_although_every_loss_was_finite() -> None:
    with pytest.raises(DivergenceError, match="after step 0"):
        train(make_model(), ALL, make_batches(1), learning_rate=float("inf"))


def test_the_hook_sees_every_step_and_can_stop() -> None:
    seen: list[int] = []

    def hook(step: int, loss: float) -> None:
        seen.append(step)
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_model(), ALL, make_batches(9), after_step=hook)
    assert seen == [0, 1, 2]


def test_frozen_parameters_stay_bit_identical_under_weight_decay() -> None:
    model = make_model()
    before = p.read_params(model, ALL)
    start = {name: tensor + 1 for name, tensor in before.items()}  # written, not trained
    update = train_locally(
        model,
        client_of(start, make_batches(3)),
        trained=["3.bias"],
        learning_rate=0.05,
        training=replace(ADAMW, weight_decay=0.5),
    )
    assert set(update.delta) == {"3.bias"}
    after = p.read_params(model, ALL)
    assert all(torch.equal(after[name], start[name]) for name in ALL if name != "3.bias")
    assert not torch.equal(after["3.bias"], start["3.bias"])


def test_the_proximal_term_is_the_one_of_fedprox() -> None:
    model, twin = make_model(), make_model()
    prox = LocalTraining(optimizer="sgd", weight_decay=0.0, max_grad_norm=None, proximal=0.7)
    update = train(model, ALL, make_batches(4), training=prox)

    start = {name: tensor.clone() for name, tensor in twin.named_parameters()}
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05)
    for batch in make_batches(4):
        optimizer.zero_grad()
        distance = sum(
            (tensor - start[name].detach()).square().sum()
            for name, tensor in twin.named_parameters()
        )
        (loss_of(twin, batch) + 0.35 * distance).backward()
        optimizer.step()
    for name, tensor in twin.named_parameters():
        expected = tensor.detach() - start[name].detach()
        torch.testing.assert_close(update.delta[name], expected, rtol=1e-4, atol=1e-6)
