"""Error feedback: what a codec loses of one update comes with the next ones."""

import pytest
import torch

from fedtt import params as p
from fedtt.federated.wire.codec import CODECS, CodecOptions
from fedtt.federated.wire.residuals import residual_after, with_residual

LOSSY = [name for name in CODECS if CODECS[name].lossy]


def deltas(rounds: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(300, generator=generator) * 1e-3
    return [{"w": common + 1e-3 * torch.randn(300, generator=generator)} for _ in range(rounds)]


@pytest.mark.parametrize("name", LOSSY)
def test_what_arrived_and_what_is_owed_is_all_that_was_to_be_sent(name: str) -> None:
    """Exactly, whatever the codec; and what is owed stays about as large as a few updates."""
    codec = CODECS[name].build(CodecOptions(block=64, stochastic=False))
    residual: dict[str, torch.Tensor] = {}
    arrived, wanted, without = torch.zeros(300), torch.zeros(300), torch.zeros(300)
    for delta in deltas(100):
        structure = p.structure_of(delta)
        sent = with_residual(delta, residual)
        decoded = codec.decode(codec.encode(sent, seed=0), expected=structure)
        residual = residual_after(residual, sent=sent, decoded=decoded)
        arrived, wanted = arrived + decoded["w"], wanted + delta["w"]
        without = without + codec.decode(codec.encode(delta, seed=0), expected=structure)["w"]
    torch.testing.assert_close(arrived + residual["w"], wanted, rtol=1e-4, atol=1e-6)
    assert float(residual["w"].norm()) < 5 * float(delta["w"].norm())
    if CODECS[name].coarse:  # which is what it is for
        assert float((without - wanted).norm()) > 4 * float((arrived - wanted).norm())


def test_what_is_not_trained_keeps_what_it_owes() -> None:
    owed = {"a": torch.tensor([1.0]), "b": torch.tensor([2.0])}
    sent = with_residual({"a": torch.tensor([0.5])}, owed)
    assert sent["a"].item() == 1.5
    assert sent.keys() == {"a"}
    after = residual_after(owed, sent=sent, decoded={"a": torch.tensor([1.25])})
    assert (after["a"].item(), after["b"].item()) == (0.25, 2.0)
    assert owed["a"].item() == 1.0
