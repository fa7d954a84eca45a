"""Server optimizers against the formulas of Reddi et al. 2021, written out."""

import pytest
import torch

from fedtt.federated.server import ServerOptimizer, progress_of

START = {"w": torch.tensor([1.0, -2.0]), "frozen": torch.tensor([7.0])}
DELTAS = [{"w": torch.tensor([0.5, 0.25])}, {"w": torch.tensor([-1.0, 0.5])}]


def after(optimizer: ServerOptimizer) -> tuple[list[float], dict[str, torch.Tensor]]:
    params, moments = START, {}
    for delta in DELTAS:
        params, moments = optimizer.step(params, moments, delta)
    assert torch.equal(params["frozen"], START["frozen"])
    assert not any(name.endswith("frozen") for name in moments)
    return params["w"].tolist(), moments


def test_fedavg_adds_the_mean() -> None:
    values, moments = after(ServerOptimizer(learning_rate=0.5))
    assert values == [1.0 + 0.5 * -0.5, -2.0 + 0.5 * 0.75]
    assert moments == {}


def test_fedavgm_remembers() -> None:
    values, _ = after(ServerOptimizer(name="fedavgm", learning_rate=1.0, momentum=0.5))
    # m1 = d1; m2 = m1 / 2 + d2
    assert values == pytest.approx([1 + 0.5 + (0.25 - 1.0), -2 + 0.25 + (0.125 + 0.5)])


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_the_adaptive_ones(name: str) -> None:
    values, _ = after(
        ServerOptimizer(name=name, learning_rate=0.1, momentum=0.9, beta2=0.99, adaptivity=0.01)
    )
    for index, begin in enumerate(START["w"].tolist()):
        m, v, expected = 0.0, 0.01**2, begin
        for delta in DELTAS:
            d = float(delta["w"][index])
            m = 0.9 * m + 0.1 * d
            if name == "fedadam":
                v = 0.99 * v + 0.01 * d * d
            else:
                v -= 0.01 * d * d * ((v > d * d) - (v < d * d))
            expected += 0.1 * m / (v**0.5 + 0.01)
        assert values[index] == pytest.approx(expected, rel=1e-5)


def test_progress_is_the_root_mean_square() -> None:
    assert progress_of({"w": torch.tensor([3.0, 4.0])}) == {"w": pytest.approx(12.5**0.5)}
