"""Masks drawn client by client inside one forward are those of the clients alone, bit for bit."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedtt.federated.local.dropout_streams import ClientStreams, moves_random_state
from fedtt.seeds import random_stream

CPU = torch.device("cpu")
SEEDS = [11, 12, 13]


def attention(x: Tensor) -> Tensor:
    heads = x.unsqueeze(1)
    mask = torch.ones(len(x), 1, x.shape[1], x.shape[1], dtype=torch.bool).tril()
    return functional.scaled_dot_product_attention(
        heads, heads, value=heads, attn_mask=mask, dropout_p=0.4
    ).squeeze(1)


FORWARDS = {
    "dropout": lambda x: functional.dropout(x, 0.3, training=True),
    "positional": lambda x: functional.dropout(x, 0.3, True, False),
    "module": nn.Dropout(0.3),
    "in place": lambda x: nn.Dropout(0.3, inplace=True)(x + 0),
    "channels": nn.Dropout1d(0.3),
    "alpha": nn.AlphaDropout(0.3),
    "attention": attention,
    "two in a row": lambda x: functional.dropout(attention(functional.dropout(x, 0.2)), 0.1),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_every_client_draws_from_its_own_stream(name: str) -> None:
    forward = FORWARDS[name]
    x = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
    alone = []
    for index, seed in enumerate(SEEDS):
        with random_stream(seed):
            own = x[2 * index : 2 * index + 2]
            alone.append([forward(own), forward(own)])
    before = torch.get_rng_state()
    streams = ClientStreams(SEEDS, device=CPU)
    with streams.rows_of([0, 1, 2]):
        first = forward(x)
    with streams.rows_of([2, 0]):  # the second forward of two of them
        second = forward(torch.cat([x[4:6], x[0:2]]))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, torch.cat([one[0] for one in alone]))
    assert torch.equal(second, torch.cat([alone[2][1], alone[0][1]]))
    assert not torch.equal(first, x)


def test_gradients_go_through_the_masks() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    with ClientStreams([1, 2], device=CPU).rows_of([0, 1]):
        y = functional.dropout(x, 0.5)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: functional.dropout(x, 0.0),
        lambda x: functional.dropout(x, 0.5, training=False),
        lambda x: functional.dropout(x, 0.5, False),
        nn.Dropout(0.5).eval(),
    ],
)
def test_what_does_not_drop_out_is_left_alone(forward: nn.Module) -> None:
    x = torch.randn(5, 3)  # rows that two clients cannot share
    with ClientStreams([1, 2], device=CPU).rows_of([0, 1]):
        assert torch.equal(forward(x), x)


def test_random_numbers_are_noticed_whoever_draws_them() -> None:
    state = torch.get_rng_state()
    assert moves_random_state(lambda: torch.rand([]), device=CPU)
    assert moves_random_state(lambda: functional.dropout(torch.ones(2), 0.5), device=CPU)
    assert not moves_random_state(lambda: functional.dropout(torch.ones(2), 0.0), device=CPU)
    assert torch.equal(torch.get_rng_state(), state)
