"""Layers with the parameters of several clients, and which methods can have them."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.peft.methods import CONFIGS, OURS, adapted
from tests.peft.tiny_architectures import CONFIGS as ARCHITECTURES
from tests.peft.tiny_architectures import tiny_classifier
from torch import nn
from torch.func import functional_call

from fedtt.errors import ShapeError
from fedtt.federated.local.stackable import Stackable, try_stacking
from fedtt.params import read_params
from fedtt.peft import DenseLinear, TTLinear, can_batch, exchanged_parameters, stacked_forwards
from fedtt.tt import TTShape

CAN = {*OURS, "lora", "bitfit", "head"}
pytestmark = [
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),  # norms, PEFT's own
    pytest.mark.filterwarnings("ignore:Specified to not .* vera_A and vera_B:UserWarning"),
    # DeBERTa's module decorates its functions with torch.jit.script when it is imported.
    pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning"),
]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (nn.Linear(4, 3), ["weight", "bias"]),
        (nn.Linear(4, 3), ["bias"]),
        (nn.Linear(4, 3), ["weight"]),
        (nn.Linear(4, 3, bias=False), ["weight"]),
        (DenseLinear(4, 3, bias=True, zero=False), ["weight", "bias"]),
        (nn.LayerNorm(4), ["weight", "bias"]),
        (nn.LayerNorm(4), ["bias"]),
        (nn.LayerNorm(4), ["weight"]),
        (TTLinear(TTShape(in_modes=(2, 2), out_modes=(3, 2), ranks=(1, 2, 2, 2, 1)), std=1.0,
                  bias=True), ["core_0", "core_1", "core_2", "core_3", "bias"]),
        (TTLinear(TTShape(in_modes=(2, 2), out_modes=(3, 2), ranks=(1, 2, 2, 2, 1)), std=1.0),
         ["core_2"]),
    ],
)  # fmt: skip
def test_every_clients_rows_meet_its_own_parameters(module: nn.Module, names: list[str]) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 5, 4, generator=generator)  # 3 clients x 2 rows
    shapes = {name: module.get_parameter(name).shape for name in names}
    stacks = {name: torch.randn(3, *shapes[name], generator=generator) for name in names}
    before = module.forward.__func__
    with stacked_forwards(module, names):
        together = functional_call(module, stacks, x)
    assert module.forward.__func__ is before
    for client in range(3):
        stack = {name: values[client] for name, values in stacks.items()}
        own = functional_call(module, stack, x[2 * client :][:2])
        torch.testing.assert_close(together[2 * client :][:2], own)


def test_rows_that_the_clients_do_not_share_equally_are_refused() -> None:
    layer = nn.Linear(4, 3)
    stack = {"weight": torch.randn(2, 3, 4)}
    with (
        stacked_forwards(layer, ["weight"]),
        pytest.raises(ShapeError, match=r"rows of 2 clients must be equally many(.|\n)*got: \(5,"),
    ):
        functional_call(layer, stack, torch.randn(5, 4))


def test_the_forwards_come_back_after_an_error() -> None:
    layer = nn.Linear(4, 3)
    with pytest.raises(KeyError), stacked_forwards(layer, ["weight"]):
        raise KeyError
    assert "forward" not in vars(layer)


@pytest.mark.parametrize("method", CONFIGS)
def test_which_methods_can_be_batched(method: str) -> None:
    model = adapted(tiny_classifier("bert"), method)
    assert can_batch(model, list(exchanged_parameters(model))) == (method in CAN)


def test_dora_batch_norm_shared_and_foreign_parameters_cannot() -> None:
    dora = get_peft_model(tiny_classifier("bert"), LoraConfig(task_type="SEQ_CLS", use_dora=True))
    assert not can_batch(dora, list(exchanged_parameters(dora)))
    assert not can_batch(nn.Sequential(nn.LayerNorm(3), nn.BatchNorm1d(3)), ["0.bias"])
    twice = nn.Sequential(nn.LayerNorm(3), nn.LayerNorm(3))
    twice[1].bias = twice[0].bias
    assert can_batch(twice, ["0.weight"])
    assert not can_batch(twice, ["0.bias"])
    assert not can_batch(nn.Sequential(nn.Linear(3, 3)), ["0.weight"])  # the base model itself
    assert can_batch(nn.Sequential(nn.Linear(3, 3)), ["0.bias"])
    assert not can_batch(twice, [])
    hooked = nn.Sequential(nn.Linear(3, 3))
    hooked[0].forward = hooked[0].forward
    assert not can_batch(hooked, ["0.bias"])


class Reader(nn.Module):
    """Classifies by normalized one-hot tokens, in three ways."""

    def __init__(self, *, length_first: bool = False, skipped: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.length_first, self.skipped = length_first, skipped

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        hidden = nn.functional.one_hot(input_ids % 8, 8).float()
        if self.training and self.skipped:  # the whole layer, by a draw of its own
            hidden = hidden * (torch.rand([]) > 0.1)
        if self.length_first:  # as XLNet does: a client's rows are not contiguous any more
            logits = self.norm(hidden.transpose(0, 1)).transpose(0, 1).mean(dim=1)
        else:
            logits = self.norm(hidden).mean(dim=1)
        return type("Output", (), {"logits": logits})


def test_a_model_that_mixes_the_rows_or_skips_layers_is_found_out() -> None:
    ids = torch.arange(8).reshape(1, 8)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    names = ["norm.weight", "norm.bias"]
    readers = [Reader(), Reader(length_first=True), Reader(skipped=True)]
    assert all(can_batch(reader, names) for reader in readers)
    verdicts = [try_stacking(r, read_params(r, names), names, batch) for r in readers]
    assert verdicts == [Stackable(draws=False), None, None]


def trial(model: nn.Module) -> Stackable | None:
    batch = {"input_ids": torch.tensor([[3, 5, 7, 9, 11, 13, 4, 6]])}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    names = list(exchanged_parameters(model))
    return try_stacking(model, read_params(model, names), names, batch)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_the_trial_says_whether_masks_must_be_drawn(rate: float) -> None:
    rates = {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate}
    assert trial(adapted(tiny_classifier("bert", **rates), "lora")) == Stackable(draws=rate > 0)


@pytest.mark.parametrize("method", ["tt", "metatt"])
@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_every_known_architecture_can_be_batched(model_type: str, method: str) -> None:
    assert trial(adapted(tiny_classifier(model_type), method)) is not None
