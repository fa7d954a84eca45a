"""Subspaces: the projection against its matrix, training in them against training without."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fedtt import params as p
from fedtt.errors import ShapeError
from fedtt.federated.local.alone import train_locally
from fedtt.federated.local.client import LocalClient
from fedtt.federated.local.rate_factors import moved_by
from fedtt.federated.local.stacked_state import StackedState
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.sent_step import sent_step
from fedtt.federated.subspace import BALANCES, THETA, Projection, Subspace, random_words
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.plain import PLAIN
from fedtt.params import Structure, TensorSpec


def structure_of_sizes(sizes: list[int]) -> Structure:
    """Three layers and a head, of these sizes."""
    names = ("m.layers.0.a", "m.layers.0.b", "m.layers.1.a", "m.layers.2.a", "score")
    return {
        name: TensorSpec(shape=(size,), dtype=torch.float32)
        for name, size in zip(names, sizes, strict=True)
    }


def matrix_of(projection: Projection) -> Tensor:
    """``P``, ``(D, d)``, in float64."""
    numbers = len(projection.squares)
    return projection.expand(torch.eye(numbers)).T.double()


@given(
    sizes=st.lists(st.integers(0, 40), min_size=5, max_size=5).filter(any),
    size=st.integers(1, 150),
    balance=st.sampled_from(BALANCES),
    round_index=st.integers(0, 5),
)
def test_columns_are_orthogonal_and_every_parameter_has_one_number(
    sizes: list[int], size: int, balance: str, round_index: int
) -> None:
    structure = structure_of_sizes(sizes)
    size = max(size, 4) if balance == "layers" else size
    subspace = Subspace(size=size, redraw=2, balance=balance, seed=3)
    projection = subspace.projection(structure, round_index)
    dense = matrix_of(projection)

    assert dense.shape == (sum(sizes), subspace.length(structure))
    assert (dense != 0).sum(1).eq(1).all()
    gram = dense.T @ dense
    torch.testing.assert_close(gram, projection.squares.double().diag(), rtol=1e-5, atol=1e-5)
    gradient = torch.randn(2, sum(sizes))
    torch.testing.assert_close(
        projection.reduce(gradient).double(), gradient.double() @ dense, rtol=1e-4, atol=1e-4
    )
    if balance == "parameters":
        assert subspace.length(structure) == min(size, sum(sizes))
        counts = (dense != 0).sum(0)
        assert counts.max() - counts.min() <= 1
        squares = torch.full_like(projection.squares, sum(sizes) / min(size, sum(sizes)))
        torch.testing.assert_close(projection.squares, squares)  # an isometry, times a number


def test_a_number_moves_its_parameters_by_about_itself() -> None:
    structure = structure_of_sizes([100, 100, 100, 100, 7])
    for balance in BALANCES:
        factor = Subspace(size=60, balance=balance).projection(structure, 0).factor.abs()
        assert 0.8 < factor.min() <= factor.max() < 1.2, balance


def test_every_layer_has_as_many_numbers_and_what_is_small_takes_no_more_than_it_has() -> None:
    structure = structure_of_sizes([50, 50, 300, 20, 3])
    projection = Subspace(size=63, balance="layers").projection(structure, 0)
    layers = [100, 300, 20, 3]
    numbers = [len(set(part.tolist())) for part in projection.number_of.split(layers)]
    assert numbers == [20, 20, 20, 3]


def test_what_is_in_no_layer_is_one_part_wherever_its_names_stand() -> None:
    """An embedding sorts before the layers and a head behind them."""
    sizes = {"embedding": 10, "m.layers.0.a": 300, "m.layers.1.a": 300, "score": 50}
    structure = {n: TensorSpec(shape=(size,), dtype=torch.float32) for n, size in sizes.items()}
    projection = Subspace(size=60, balance="layers").projection(structure, 0)
    parts = [set(part.tolist()) for part in projection.number_of.split(list(sizes.values()))]
    outside = parts[0] | parts[3]
    assert [len(outside), len(parts[1]), len(parts[2])] == [20, 20, 20]
    assert not outside & (parts[1] | parts[2])
    dense = matrix_of(projection)
    gram = dense.T @ dense
    torch.testing.assert_close(gram, projection.squares.double().diag(), rtol=1e-5, atol=1e-5)


def test_fewer_numbers_than_layers_are_refused() -> None:
    structure = structure_of_sizes([50, 50, 300, 20, 3])
    with pytest.raises(ShapeError, match="at least 4"):
        Subspace(size=3, balance="layers").projection(structure, 0)
    assert Subspace(size=3).length(structure) == 3


@pytest.mark.parametrize("balance", BALANCES)
def test_as_many_numbers_as_parameters_leave_nothing_out(balance: str) -> None:
    structure = structure_of_sizes([5, 6, 7, 8, 9])
    projection = Subspace(size=1000, balance=balance).projection(structure, 0)
    assert sorted(projection.number_of.tolist()) == list(range(35))
    assert projection.factor.abs().eq(1).all()


def test_draws_are_unrelated() -> None:
    """Signs are fair, and two parameters meet in one number as often as chance has it."""
    structure = structure_of_sizes([4000, 4000, 4000, 4000, 4000])
    subspaces = [Subspace(size=200, redraw=1, seed=seed) for seed in (0, 1)]
    draws = [s.projection(structure, index) for s in subspaces for index in (0, 1)]
    deviation = 20_000**0.5
    for one in draws:
        assert abs(float(one.factor.sign().sum())) < 4 * deviation
    for index, one in enumerate(draws):
        for other in draws[:index]:
            agreement = float((one.factor.sign() * other.factor.sign()).sum())
            assert abs(agreement) < 4 * deviation
            # Pairs that share a number in one draw share one in the other with 1 in 200.
            pairs = one.members[0].long(), one.members[1].long()
            together = (other.number_of[pairs[0]] == other.number_of[pairs[1]]).sum()
            assert together <= 8  # 1 of 200 pairs in the mean


def test_a_draw_lasts_as_long_as_it_is_told() -> None:
    structure = structure_of_sizes([30, 30, 30, 30, 30])

    def drawn(redraw: int) -> list[list[int]]:
        subspace = Subspace(size=12, redraw=redraw)
        return [subspace.projection(structure, index).number_of.tolist() for index in range(4)]

    first, second, third, fourth = drawn(2)
    assert first == second != third == fourth
    assert len({tuple(numbers) for numbers in drawn(0)}) == 1
    assert len({tuple(numbers) for numbers in drawn(1)}) == 4


def test_random_words_are_those_that_they_were() -> None:
    """Philox 4x64-10, whose words other languages have too; a site may have another NumPy."""
    expected = [7481232222549762684, 4994242939934702634, 13855941940182612428]
    assert random_words(0, "order", count=3).tolist() == expected


def test_a_parameter_of_another_type_is_refused() -> None:
    structure = {"w": TensorSpec(shape=(3,), dtype=torch.bfloat16)}
    with pytest.raises(ShapeError, match="one type"):
        Subspace(size=2).projection(structure, 0)


# ---------------------------------------------------------------------------- local training

NAMES = ["0.bias", "0.weight", "2.bias", "2.weight"]


def make_model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def make_batches(count: int) -> list[dict[str, Tensor]]:
    stream = torch.Generator().manual_seed(9)
    return [
        {
            "x": torch.randn(8, 4, generator=stream),
            "y": torch.randint(0, 3, (8,), generator=stream),
        }
        for _ in range(count)
    ]


def loss_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch["x"]), batch["y"])


def train(
    training: LocalTraining, projection: Projection | None, *, steps: int = 6
) -> ClientUpdate:
    model = make_model()
    client = LocalClient(
        start=p.read_params(model, NAMES),
        batches=make_batches(steps),
        num_examples=40,
        dropout_seed=1,
        where="round 0, client a",
        loss=loss_of,
    )
    update = train_locally(
        model, client, learning_rate=0.05, training=training, projection=projection
    )
    # The model ends where the update says.
    change = update.delta if projection is None else projection.change(update.delta[THETA])
    reached = p.read_params(model, NAMES)
    for name in NAMES:
        torch.testing.assert_close(reached[name], client.start[name] + change[name])
    return update


def projection_of(size: int, factors: dict[str, float] | None = None) -> Projection:
    structure = p.structure_of(p.read_params(make_model(), NAMES))
    return Subspace(size=size, factors=factors or {}).projection(structure, 0)


RATES = {"0.bias": 3.0, "2.weight": 0.5}
TRAININGS = {
    "adamw by parameter": LocalTraining(weight_decay=0.3, max_grad_norm=None, factors=RATES),
    "sgd by parameter": LocalTraining(optimizer="sgd", max_grad_norm=None, factors=RATES),
    "adamw": LocalTraining(weight_decay=0.3, max_grad_norm=0.5),
    "sgd": LocalTraining(optimizer="sgd", weight_decay=0.3, max_grad_norm=0.5),
    "proximal": LocalTraining(weight_decay=0.0, max_grad_norm=None, proximal=2.0),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_with_as_many_numbers_as_parameters_it_is_the_plain_method(name: str) -> None:
    plain = train(TRAININGS[name], None)
    training = TRAININGS[name]
    projection = projection_of(10**6, moved_by(training))
    update = train(training, projection)
    change = projection.change(update.delta[THETA])
    for parameter in NAMES:
        torch.testing.assert_close(change[parameter], plain.delta[parameter], rtol=1e-4, atol=1e-6)
    assert update.loss == pytest.approx(plain.loss, rel=1e-5)


def test_a_step_of_sgd_goes_down_the_projected_gradient() -> None:
    projection = projection_of(7)
    training = LocalTraining(optimizer="sgd", weight_decay=0.3, max_grad_norm=None, proximal=2.0)
    theta = train(training, projection, steps=2).delta[THETA].double()

    dense = matrix_of(projection)
    model = make_model()
    start = torch.cat([model.get_parameter(name).detach().flatten() for name in NAMES]).double()
    expected = torch.zeros(7, dtype=torch.float64)
    for batch in make_batches(2):
        now = start + dense @ expected
        p.write_params(model, projection.split(now.float()))
        model.zero_grad()
        loss_of(model, batch).backward()
        gradient = torch.cat([model.get_parameter(n).grad.flatten() for n in NAMES]).double()
        gradient = gradient + 2.0 * (now - start) + 0.3 * now
        expected = expected - 0.05 * dense.T @ gradient
    torch.testing.assert_close(theta, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_cohort_moves_as_its_clients_do_alone(name: str) -> None:
    """Three clients with gradients of their own, one of which ends early."""
    training = TRAININGS[name]
    projection = projection_of(9, moved_by(training))
    shapes = p.structure_of(p.read_params(make_model(), NAMES))
    start = p.read_params(make_model(), NAMES)
    stream = torch.Generator().manual_seed(0)
    gradients = [
        [torch.randn(3, *shapes[name].shape, generator=stream) for name in NAMES] for _ in range(4)
    ]

    def state(count: int) -> StackedState:
        return StackedState(
            [start] * count,
            training=training,
            learning_rate=0.1,
            device=torch.device("cpu"),
            projection=projection,
        )

    together = state(3)
    for index, step in enumerate(gradients):
        if index == 2:
            together.end(1)
        together.take_gradient([0, 1, 2], step)
        together.step()
    together.end(0)
    together.end(2)
    for client, steps in enumerate((4, 2, 4)):
        alone = state(1)
        for step in gradients[:steps]:
            alone.take_gradient([0], [g[client : client + 1] for g in step])
            alone.step()
        alone.end(0)
        torch.testing.assert_close(together.deltas()[client][THETA], alone.deltas()[0][THETA])


def test_a_step_adds_what_its_numbers_stand_for() -> None:
    params = {"a": torch.randn(4, 5), "b": torch.randn(6), "c": torch.randn(2)}
    subspace = Subspace(size=5, redraw=1)
    theta = torch.randn(5)
    step = sent_step("ab", {THETA: theta}, codec=PLAIN, seed=0)
    after = step.apply(params, subspace=subspace, codec=PLAIN, round_index=3)
    projection = subspace.projection(p.structure_of(p.select(params, "ab")), 3)
    dense = matrix_of(projection)
    flat = torch.cat([params["a"].flatten(), params["b"]]).double() + dense @ theta.double()
    torch.testing.assert_close(torch.cat([after["a"].flatten(), after["b"]]), flat.float())
    assert after["c"] is params["c"]
    assert (
        replace(step, names=frozenset("abc"))
        .apply(params, subspace=subspace, codec=PLAIN, round_index=3)["c"]
        .ne(params["c"])
        .any()
    )


def test_weights_decay_as_far_as_the_numbers_can_follow() -> None:
    """AdamW's decay is beside the gradient: where that is zero, least squares of ``-lr w p``."""
    projection, training = projection_of(9), LocalTraining(weight_decay=0.3)
    start = p.read_params(make_model(), NAMES)
    state = StackedState(
        [start],
        training=training,
        learning_rate=0.1,
        device=torch.device("cpu"),
        projection=projection,
    )
    state.take_gradient([0], [torch.zeros(1, *start[name].shape) for name in NAMES])
    state.step()
    state.end(0)
    flat = torch.cat([start[name].flatten() for name in NAMES]).double()
    wanted = torch.linalg.lstsq(matrix_of(projection), -0.1 * 0.3 * flat[:, None]).solution[:, 0]
    torch.testing.assert_close(state.deltas()[0][THETA].double(), wanted, rtol=1e-4, atol=1e-6)
