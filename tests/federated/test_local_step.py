"""The local step of a cohort is that of each of its clients, against torch's own clipping."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fedtt.federated.local.step import LocalTraining, Trained, local_step

SHAPES = ((3,), (2, 4), (1, 2, 2))


def draw(clients: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.arange(1, clients + 1) ** 3  # norms that differ from client to client
    return [
        torch.randn(clients, *shape, generator=generator) * sizes.reshape(-1, *[1] * len(shape))
        for shape in SHAPES
    ]


@given(st.integers(1, 4), st.integers(0, 99), st.sampled_from([0.1, 3.0, 100.0, None]))
def test_clients_are_pulled_back_and_clipped_each_for_itself(
    clients: int, seed: int, max_norm: float | None
) -> None:
    gradients, weights, origins = (draw(clients, seed + 100 * i) for i in range(3))
    trained = [
        Trained(gradient=g.clone(), weight=w, origin=o)
        for g, w, o in zip(gradients, weights, origins, strict=True)
    ]
    local_step(trained, training=LocalTraining(proximal=0.5, max_grad_norm=max_norm))
    for client in range(clients):
        alone = [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
        for one, g, w, o in zip(alone, gradients, weights, origins, strict=True):
            one.grad = g[client] + 0.5 * (w[client] - o[client])
        if max_norm is not None:
            nn.utils.clip_grad_norm_(alone, max_norm)
        for one, both in zip(alone, trained, strict=True):
            torch.testing.assert_close(both.gradient[client], one.grad, rtol=1e-5, atol=1e-5)


def test_a_privacy_step_sees_gradients_that_are_clipped() -> None:
    norms: list[float] = []
    training = LocalTraining(
        max_grad_norm=0.5,
        private=lambda gradients: norms.extend(gradients[0].norm(dim=1).tolist()),
    )
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.0]])
    local_step([Trained(gradient=gradient, weight=gradient, origin=gradient)], training=training)
    assert norms == pytest.approx([0.5, 0.3], abs=1e-5)
