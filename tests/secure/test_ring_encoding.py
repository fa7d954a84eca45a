"""Updates as whole numbers: their sum is exact, does not wrap, and is the weighted mean."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtt import params as p
from fedtt.errors import FedttError, WireError
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.secure.ring_encoding import LARGEST, RingEncoding, decode_sum, encode_words
from fedtt.federated.types import ClientUpdate

STRUCTURE = p.structure_of({"b": torch.zeros(2, 3), "a": torch.zeros(5)})
EXTREME = st.floats(-1.0, 1.0, width=32) | st.sampled_from([1.0, -1.0])


def encoding(*, clients: int, most_weight: int = 1, value_range: float = 1.0) -> RingEncoding:
    return RingEncoding(
        structure=STRUCTURE, value_range=value_range, most_weight=most_weight, clients=clients
    )


def update(numbers: list[float], *, loss: float = 0.5) -> ClientUpdate:
    flat = torch.tensor(numbers)
    delta = {"a": flat[:5], "b": flat[5:].reshape(2, 3)}
    return ClientUpdate(delta=delta, num_examples=7, num_steps=1, loss=loss)


@settings(max_examples=15)
@given(
    clients=st.lists(
        st.tuples(
            st.lists(EXTREME, min_size=11, max_size=11), st.integers(1, 300), st.floats(0, 64)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_the_sum_s_mean_is_the_weighted_mean_to_half_a_step_each(
    clients: list[tuple[list[float], int, float]],
) -> None:
    own = encoding(clients=len(clients), most_weight=200)
    total, mean, weights, losses = np.zeros(own.words, np.uint32), WeightedMean(), 0, 0.0
    for numbers, weight, loss in clients:
        sent = update(numbers, loss=loss)
        total = total + encode_words(sent, weight=weight, encoding=own)
        counts = min(weight, 200)
        mean = mean.include(sent.delta, start={}, weight=counts)
        weights, losses = weights + counts, losses + counts * loss
    found = decode_sum(total, encoding=own, arrived=len(clients))
    wanted = mean.result(start={"a": torch.zeros(1), "b": torch.zeros(1)}).delta
    room = own.step * len(clients) / 2 * (200 / weights) + 1e-7
    assert found.weight == weights
    assert found.out_of_range == 0
    for name, tensor in wanted.items():
        assert float((found.mean[name] - tensor).abs().max()) <= room
    assert found.loss == pytest.approx(losses / weights, abs=64 * room)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("clients", [3, 7, 1000])
def test_all_at_the_end_of_the_range_do_not_wrap_around(sign: float, clients: int) -> None:
    own = encoding(clients=clients, value_range=3.0)
    word = encode_words(update([3.0 * sign] * 11), weight=1, encoding=own)
    found = decode_sum(word * np.uint32(clients), encoding=own, arrived=clients)
    torch.testing.assert_close(found.mean["b"], torch.full((2, 3), 3.0 * sign))
    assert own.most_steps * clients <= LARGEST < (own.most_steps + 1) * clients


def test_what_is_out_of_range_counts_as_its_end_and_is_counted() -> None:
    own = encoding(clients=2)
    first = encode_words(update([5.0, -7.0, *[0.25] * 9]), weight=1, encoding=own)
    second = encode_words(update([1.0, -1.0, *[0.25] * 8, 1.5]), weight=1, encoding=own)
    found = decode_sum(first + second, encoding=own, arrived=2)
    assert found.out_of_range == 3  # 5, -7 and 1.5
    assert found.mean["a"][:2].tolist() == pytest.approx([1.0, -1.0])
    assert float(found.mean["b"][1, 2]) == pytest.approx((0.25 + 1.0) / 2)


def test_a_heavy_client_counts_as_the_heaviest_allowed() -> None:
    own = encoding(clients=2, most_weight=10)
    heavy = encode_words(update([1.0] * 11), weight=10**9, encoding=own)
    light = encode_words(update([0.0] * 11), weight=10, encoding=own)
    found = decode_sum(heavy + light, encoding=own, arrived=2)
    assert (found.weight, float(found.mean["a"][0])) == (20, pytest.approx(0.5))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_by_name(bad: float) -> None:
    with pytest.raises(WireError, match="an update is not finite\n  where: b"):
        encode_words(update([0.0] * 10 + [bad]), weight=1, encoding=encoding(clients=3))


def test_nobody_s_sum_and_sums_too_large_are_refused() -> None:
    own = encoding(clients=3)
    with pytest.raises(WireError, match="cannot have made"):
        decode_sum(np.zeros(own.words, np.uint32), encoding=own, arrived=1)
    with pytest.raises(FedttError, match="more than sums of 32 bits hold"):
        encoding(clients=1001)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (-3, 0),  # nobody's weight
        (-3, 2**32 - 1),  # two clients' honest weights and one of less than nothing
        (-3, 4),  # of three clients with a weight of 1 each
        (-2, 34),  # more numbers than there are
        (0, 2**31 - 1),  # further than three clients reach
        (-1, 2**31),  # a loss beyond all
    ],
)
def test_a_sum_that_nobody_honest_can_have_made_is_refused(word: int, value: int) -> None:
    own = encoding(clients=4)
    total = encode_words(update([0.5] * 11), weight=1, encoding=own) * np.uint32(3)
    assert decode_sum(total, encoding=own, arrived=3).weight == 3
    total[word] = value
    with pytest.raises(WireError, match="cannot have made"):
        decode_sum(total, encoding=own, arrived=3)
