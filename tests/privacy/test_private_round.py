"""A round under client-level privacy: what one client changes, what hides it, and an attack."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.privacy.rounds import (
    METHOD,
    NO_NOISE,
    SECRET,
    at,
    first_state,
    moved,
    private_round,
)

from fedtt import params as p
from fedtt.config import WireConfig
from fedtt.engine.build_method import build_downlink
from fedtt.federated.privacy.accounting import Accounting
from fedtt.federated.privacy.client_privacy import NORM, AdaptiveClipping
from fedtt.federated.privacy.keystream import secret_streams
from fedtt.federated.schedules.everything import all_parameters
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.subspace import THETA, Subspace

PARAMS = {"a": torch.zeros(4, 3), "b": torch.zeros(5)}
DIMENSION = 17  # 12 + 5
ADAPTIVE = AdaptiveClipping(quantile=0.5, learning_rate=0.2, count_deviation=1e-30)


def update(*numbers: float) -> p.Params:
    """The first numbers of an update; the rest is zero."""
    flat = torch.zeros(DIMENSION)
    flat[: len(numbers)] = torch.tensor(numbers)
    return {"a": flat[:12].reshape(4, 3), "b": flat[12:]}


def random_update(seed: int, *, length: float) -> p.Params:
    flat = torch.randn(DIMENSION, generator=torch.Generator().manual_seed(seed))
    return update(*(flat / flat.norm() * length).tolist())


NUMBERS = st.floats(width=32, min_value=-(2.0**40), max_value=2.0**40)
UPDATES = st.lists(NUMBERS, min_size=DIMENSION, max_size=DIMENSION).map(lambda n: update(*n))


@given(updates=st.lists(UPDATES, min_size=1, max_size=6), norm=st.floats(1e-3, 1e3), data=st.data())
def test_adding_or_removing_a_client_moves_the_model_by_its_norm_over_the_denominator(
    updates: list[p.Params], norm: float, data: st.DataObject
) -> None:
    """Neighbors by construction, noise switched off: one client sends, or does not."""
    state = first_state(PARAMS, noise_multiplier=NO_NOISE, clipping_norm=norm)
    who = data.draw(st.sampled_from(range(len(updates))))
    answers = {f"c{index}": sent for index, sent in enumerate(updates)}
    whole, _ = private_round(state, answers, expected=len(updates))
    rest, _ = private_round(state, {**answers, f"c{who}": None}, expected=len(updates))
    change = float((moved(state, whole) - moved(state, rest)).norm())
    assert change <= norm / len(updates) * (1 + 1e-6)


def test_the_mean_is_over_those_expected_whoever_answers_and_whatever_they_claim() -> None:
    """Two of four answer: 0.6 + 0.2 over four, not over two, and not by their examples."""
    state = first_state(PARAMS, noise_multiplier=NO_NOISE)
    answers = {"w": update(0.6), "x": None, "y": update(0.2), "z": None}
    after, report = private_round(state, answers)
    assert moved(state, after)[0] == pytest.approx((0.6 + 0.2) / 4)
    assert set(report.clients) == {"w", "y"}
    assert set(report.dropped) == {"x", "z"}


def test_the_whole_update_is_clipped_not_each_tensor_of_it() -> None:
    """3-4-5: lengths 3 and 4 in two tensors are 5 together, and are shortened to 0.5."""
    state = first_state(PARAMS, noise_multiplier=NO_NOISE, clipping_norm=0.5)
    sent = {"a": torch.zeros(4, 3), "b": torch.zeros(5)}
    sent["a"][0, 0], sent["b"][4] = 3.0, 4.0
    after, _ = private_round(state, {"c": sent})
    assert after.params["a"][0, 0] == pytest.approx(0.3)
    assert after.params["b"][4] == pytest.approx(0.4)


@pytest.mark.parametrize(("downlink", "error"), [("plain", 1e-6), ("int8", 4e-3)])
def test_of_a_subspace_its_few_numbers_are_clipped(downlink: str, error: float) -> None:
    """And are the step that clients are sent, in whatever codec."""
    subspace = Subspace(size=3, redraw=0, balance="parameters", seed=5)
    method = replace(
        METHOD,
        subspace=subspace,
        schedule=all_parameters,
        downlink=build_downlink(WireConfig(downlink=downlink)),
    )
    state = first_state(PARAMS, noise_multiplier=NO_NOISE, clipping_norm=0.5)
    theta = {THETA: torch.tensor([0.0, 6.0, 8.0])}
    after, _ = private_round(state, {"c": theta}, method=method)
    numbers = after.steps[0].numbers(
        p.structure_of(PARAMS), subspace=subspace, codec=method.downlink
    )
    torch.testing.assert_close(numbers[THETA], torch.tensor([0.0, 0.3, 0.4]), atol=error, rtol=0)


def test_the_noise_of_a_round_is_the_noise_multiplier_times_the_norm_over_the_denominator() -> None:
    params = {"a": torch.zeros(300, 200)}
    state = first_state(params, noise_multiplier=2.0, clipping_norm=0.5)
    after, report = private_round(state, {f"c{i}": None for i in range(5)}, expected=5)
    noise = moved(state, after).numpy()
    deviation = 2.0 * 0.5 / 5
    assert abs(noise.mean()) < 4.5 * deviation / math.sqrt(noise.size)
    assert abs(noise.std() / deviation - 1) < 4.5 / math.sqrt(2 * noise.size)
    assert stats.kstest(noise / deviation, "norm").pvalue > 1e-3
    assert report.unused is None  # that nobody answered does not show


def test_every_round_has_other_noise_and_the_same_round_the_same() -> None:
    state = first_state(PARAMS, noise_multiplier=1.0)
    answers = {"x": update(0.1), "y": update(0.2)}
    one, again = (private_round(state, answers)[0] for _ in range(2))
    assert all(torch.equal(one.params[name], again.params[name]) for name in PARAMS)
    later, _ = private_round(at(state, next_round=1), answers)
    other, _ = private_round(state, answers, streams=secret_streams(SECRET[::-1]))
    different = [moved(state, one) - moved(state, state_) for state_ in (later, other)]
    assert all((change.abs() > 1e-3).sum() >= DIMENSION - 2 for change in different)


def test_a_round_that_is_run_again_with_others_has_other_noise() -> None:
    """Or the difference of both outcomes would be what was sent."""
    state = first_state(PARAMS, noise_multiplier=1.0)
    answers = {"x": update(0.1), "y": update(0.2)}
    both, _ = private_round(state, answers)
    alone, _ = private_round(state, {**answers, "y": None})
    difference = (moved(state, both) - moved(state, alone)) * 2
    assert (difference - torch.cat([update(0.2)["a"].flatten(), torch.zeros(5)])).norm() > 1


def test_the_server_s_optimizer_comes_after_the_noise() -> None:
    method = replace(METHOD, server=ServerOptimizer(name="fedavgm", learning_rate=0.5))
    state = first_state(PARAMS, noise_multiplier=1.0)
    plain, _ = private_round(state, {"x": update(0.1)})
    after, _ = private_round(state, {"x": update(0.1)}, method=method)
    torch.testing.assert_close(moved(state, after), 0.5 * moved(state, plain))


def lengths(*norms: float) -> dict[str, p.Params]:
    return {f"c{i}": random_update(i, length=norm) for i, norm in enumerate(norms)}


def test_the_clipping_norm_goes_down_where_all_are_within_it_and_up_where_none_is() -> None:
    """One round: exp(-0.2 (share - 0.5)); 3 of 4 within: exp(-0.05)."""
    for norms, share in [((0.5,) * 4, 1.0), ((2.0,) * 4, 0.0), ((0.5, 0.5, 0.5, 2.0), 0.75)]:
        state = first_state(PARAMS, noise_multiplier=NO_NOISE)
        after, _ = private_round(state, lengths(*norms), adaptive=ADAPTIVE)
        assert after.privacy[NORM] == pytest.approx(math.exp(-0.2 * (share - 0.5)))


def test_it_finds_the_quantile() -> None:
    norms = [float(n) for n in np.linspace(0.1, 2.0, 20)]
    adaptive = AdaptiveClipping(quantile=0.8, learning_rate=0.2, count_deviation=1.0)
    state = first_state(PARAMS, noise_multiplier=1.0, clipping_norm=20.0)
    reached = []
    for _ in range(150):
        state, _ = private_round(state, lengths(*norms), adaptive=adaptive)
        reached.append(state.privacy[NORM])
    assert np.mean(reached[-50:]) == pytest.approx(np.quantile(norms, 0.8), rel=0.1)


def test_the_count_has_the_noise_that_it_says() -> None:
    """Of nobody, one half is within: log(norm) moves by the noise alone, 0.02 * N(0, 2) / 40."""
    adaptive = AdaptiveClipping(quantile=0.5, learning_rate=0.02, count_deviation=2.0)
    state = first_state({"a": torch.zeros(1)}, noise_multiplier=1.0)
    nobody, moves = {f"c{i}": None for i in range(40)}, []
    for index in range(600):
        after, _ = private_round(at(state, next_round=index), nobody, adaptive=adaptive)
        moves.append(math.log(after.privacy[NORM]) / 0.02 * 40)
    assert np.std(moves) == pytest.approx(2.0, rel=4.5 / math.sqrt(2 * 600))
    assert abs(np.mean(moves)) < 4.5 * 2.0 / math.sqrt(600)


@pytest.mark.parametrize(("noise", "deviation"), [(1.0, 0.6), (0.3, 5.0), (40.0, 41.0)])
def test_the_noise_of_updates_and_count_together_is_the_one_that_is_accounted(
    noise: float, deviation: float
) -> None:
    """Both at once are one Gaussian release: in its own noise, a client moves it by 1 / z."""
    adaptive = replace(ADAPTIVE, count_deviation=deviation)
    left = adaptive.noise_left(noise)
    moved_by_a_client = math.hypot(1 / left, 0.5 / deviation)
    assert moved_by_a_client == pytest.approx(1 / noise)
    assert left > noise


def attack_advantage(noise_multiplier: float, *, trials: int) -> float:
    """True less false positives of the best guess whether a canary took part, knowing all else.

    Three other clients; the canary sends one norm along the first coordinate, and
    the guess is by that coordinate of what is released, with the threshold half-way.
    """
    others = {f"c{i}": random_update(i, length=0.7) for i in range(3)}
    quiet, _ = private_round(first_state(PARAMS, noise_multiplier=NO_NOISE), {**others, "z": None})
    known = float(moved(first_state(PARAMS, noise_multiplier=1.0), quiet)[0])
    hits = {True: 0, False: 0}
    for index in range(trials):
        for present in (True, False):
            state = at(first_state(PARAMS, noise_multiplier=noise_multiplier), next_round=index)
            answers = {**others, "z": update(5.0) if present else None}
            after, _ = private_round(state, answers, streams=secret_streams(bytes([present] * 32)))
            hits[present] += float(moved(state, after)[0]) - known > 0.5 / 4
    return (hits[True] - hits[False]) / trials


def bound_on_advantage(epsilon: float, delta: float) -> float:
    """Kairouz, Oh and Viswanath 2015: of any attack on an (epsilon, delta) mechanism."""
    return (math.expm1(epsilon) + 2 * delta) / (math.exp(epsilon) + 1)


def test_no_attack_finds_a_canary_more_often_than_the_noise_allows() -> None:
    noise, trials = 2.0, 600
    accounting = Accounting(
        sampling="poisson", accountant="pld", population=4, expected=4, delta=1e-5
    )
    # The tightest bound that some delta gives; at one delta alone it would be loose.
    bounds = [
        bound_on_advantage(
            replace(accounting, delta=delta).epsilon(noise_multiplier=noise, rounds=1), delta
        )
        for delta in (1e-3, 0.02, 0.08, 0.15)
    ]
    bound = min(bounds)
    assert bound < 0.25
    spread = math.sqrt(0.5 / trials)
    found = attack_advantage(noise, trials=trials)
    assert found < bound + 3 * spread
    assert found > 0.1  # the attack is not a bad one: 0.197 is what the best one has


def test_without_the_noise_it_is_found_every_time() -> None:
    assert attack_advantage(NO_NOISE, trials=20) == 1.0
