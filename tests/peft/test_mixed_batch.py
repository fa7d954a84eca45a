"""``adapter_names``: every row of a batch by its own adapter, as PEFT's LoRA does it."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier, tiny_lm, tokens

from fedtt.peft import (
    BottleneckAdapterConfig,
    LoRAXSConfig,
    MetaTTConfig,
    TTAdapterConfig,
    adapt,
    full_config,
)

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)

ROWS = ["south", "__base__", "north", "south"]
CONFIGS = {
    "lora": lambda task: LoraConfig(task_type=task, r=2, init_lora_weights=False),
    "tt": lambda task: TTAdapterConfig(task_type=task, rank=2, bottleneck=8, init_weights=False),
    "lora-xs": lambda task: LoRAXSConfig(task_type=task, r=4, init="gaussian"),
    "metatt": lambda task: MetaTTConfig(task_type=task, rank=3, init_weights=False),
    "adapter": lambda task: BottleneckAdapterConfig(task_type=task, bottleneck=8),
}
every_adapter = pytest.mark.parametrize("name", CONFIGS)


def spread(model: PeftModel) -> PeftModel:
    """``model`` with adapters that all do something, each something else. Changes it."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "north" in parameter_name or "south" in parameter_name:
                parameter.normal_(std=0.5)
    return model.eval()


def two_adapters(base: Any, config: Any) -> PeftModel:
    model = get_peft_model(base, config(), adapter_name="north")
    model.add_adapter("south", config())
    return spread(model)


def by_hand(model: PeftModel, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """The logits of the whole batch by each adapter, and by none."""
    outputs = {}
    with torch.no_grad():
        for name in ("north", "south"):
            model.set_adapter(name)
            outputs[name] = model(input_ids=ids).logits
        with model.disable_adapter():
            outputs["__base__"] = model(input_ids=ids).logits
    model.set_adapter("north")
    return outputs


@every_adapter
def test_every_row_goes_through_its_own_adapter(name: str) -> None:
    model, ids = two_adapters(tiny_lm(), lambda: CONFIGS[name]("CAUSAL_LM")), tokens()
    alone = by_hand(model, ids)
    assert not torch.allclose(alone["north"], alone["south"])
    with torch.no_grad():
        mixed = model(input_ids=ids, adapter_names=ROWS).logits
        after = model(input_ids=ids).logits
    for row, adapter in enumerate(ROWS):
        torch.testing.assert_close(mixed[row], alone[adapter][row])
    torch.testing.assert_close(after, alone["north"])  # nothing of it stays


# PEFT takes no rows of a head of several layers, as RoBERTa's is: only of a linear one.
@pytest.mark.parametrize(("model_type", "tensorized"), [("bert", False), ("roberta", True)])
def test_a_classifier_and_its_head_go_by_row_too(model_type: str, tensorized: bool) -> None:
    def config() -> TTAdapterConfig:
        return TTAdapterConfig(
            task_type="SEQ_CLS",
            rank=2,
            bottleneck=8,
            tensorize_classifier=tensorized,
            init_weights=False,
        )

    model = two_adapters(tiny_classifier(model_type), config)
    ids = tokens()
    alone = by_hand(model, ids)
    with torch.no_grad():
        mixed = model(input_ids=ids, adapter_names=["north", "south", "south", "north"]).logits
    for row, adapter in enumerate(["north", "south", "south", "north"]):
        torch.testing.assert_close(mixed[row], alone[adapter][row])


@every_adapter
@pytest.mark.parametrize("beams", [1, 2])
def test_generation_takes_them_as_well(name: str, beams: int) -> None:
    model, ids = two_adapters(tiny_lm(), lambda: CONFIGS[name]("CAUSAL_LM")), tokens(2)
    options = {"max_new_tokens": 5, "do_sample": False, "num_beams": beams, "eos_token_id": None}
    mask = torch.ones_like(ids)
    mixed = model.generate(
        input_ids=ids, attention_mask=mask, adapter_names=["south", "north"], **options
    )
    for row, adapter in enumerate(["south", "north"]):
        model.set_adapter(adapter)
        alone = model.generate(input_ids=ids, attention_mask=mask, **options)
        assert mixed[row].tolist() == alone[row].tolist()


@every_adapter
def test_what_cannot_be_is_refused(name: str) -> None:
    model, ids = two_adapters(tiny_lm(), lambda: CONFIGS[name]("CAUSAL_LM")), tokens()
    with pytest.raises(ValueError, match=r"(?s)adapter.*west"):
        model(input_ids=ids, adapter_names=["north", "south", "west", "north"])
    with pytest.raises(ValueError, match="adapter_names"):
        model(input_ids=ids, adapter_names=["north", "south"])
    with pytest.raises(ValueError, match=r"training"):
        model.train()(input_ids=ids, adapter_names=ROWS)


@pytest.mark.parametrize("name", ["lora-xs", "metatt"])
def test_merged_weights_have_no_rows(name: str) -> None:
    model = two_adapters(tiny_lm(), lambda: CONFIGS[name]("CAUSAL_LM"))
    model.merge_adapter(["south"])
    with pytest.raises(ValueError, match="merged adapters cannot be told apart"):
        model(input_ids=tokens(), adapter_names=ROWS)


def test_a_model_that_was_trained_in_place_has_no_adapters_to_choose() -> None:
    model = adapt(tiny_classifier("bert"), full_config("SEQ_CLS")).eval()
    with pytest.raises(ValueError, match="no adapters to choose by row"):
        model(input_ids=tokens(), adapter_names=["default"] * 4)
