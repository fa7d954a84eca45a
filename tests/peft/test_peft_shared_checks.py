"""What PEFT asks of every tuner of its own, asked of ours: status, copies, swaps, states."""

import pickle
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils.hotswap import hotswap_adapter
from tests.peft.methods import CONFIGS, OURS, adapted, masked_logits, train
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier, tiny_lm, tokens

from fedtt.models.options import enable_checkpointing
from fedtt.peft import exchanged_parameters

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
LABELS = torch.tensor([0, 1, 1, 0])
LAYERS = {**dict.fromkeys(OURS, 4), "full": 0, "head": 0, "bitfit": 0}

ours = pytest.mark.parametrize("method", LAYERS)
wrapping = pytest.mark.parametrize("method", [name for name, count in LAYERS.items() if count])


def trained(method: str, *, seed: int = 0) -> PeftModel:
    model = adapted(tiny_classifier("bert"), method, seed=seed)
    train(model, tokens(seed=seed + 1), LABELS)
    return model


@ours
def test_a_copy_is_the_same_and_its_own(method: str) -> None:
    ids, model = tokens(), trained(method)
    before = masked_logits(model, ids)
    for copy in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(masked_logits(copy, ids), before)
        train(copy, ids, LABELS)
        assert not torch.equal(masked_logits(copy, ids), before)
    assert torch.equal(masked_logits(model, ids), before)


@ours
def test_peft_can_say_what_state_the_model_is_in(method: str) -> None:
    model = trained(method)
    status = model.get_model_status()
    assert status.active_adapters == status.available_adapters == ["default"]
    assert (status.enabled, status.merged_adapters) == (True, [])
    assert status.requires_grad == {"default": True}
    assert status.devices == {"default": ["cpu"]}
    exchanged = exchanged_parameters(model)
    assert status.trainable_params == sum(model.get_parameter(n).numel() for n in exchanged)
    layers = [layer for layer in model.get_layer_status() if "classifier" not in layer.name]
    assert len(layers) == LAYERS[method] == len(model.targeted_module_names)
    assert all(layer.module_type and layer.enabled for layer in layers)


@wrapping
def test_status_follows_what_is_done(method: str) -> None:
    model = trained(method)
    model.add_adapter("second", CONFIGS[method]("SEQ_CLS"))
    with model.disable_adapter():
        assert not model.get_model_status().enabled
    assert model.get_model_status().enabled
    model.set_adapter("second")
    status = model.get_model_status()
    assert status.active_adapters == ["second"]
    assert status.requires_grad == {"default": False, "second": True}
    model.set_requires_grad("default")
    assert model.get_model_status().requires_grad == {"default": True, "second": True}
    with pytest.warns(UserWarning, match="Setting active adapter to default"):
        model.delete_adapter("second")
    assert model.get_model_status().available_adapters == ["default"]


@wrapping
def test_a_hot_swap_is_refused_by_name_and_a_state_takes_its_place(
    method: str, tmp_path: Path
) -> None:
    ids, model, other = tokens(), trained(method), trained(method, seed=3)
    other.save_pretrained(tmp_path)
    before = masked_logits(model, ids)
    name = model.active_peft_config.peft_type.value
    with pytest.raises(ValueError, match=f"Hotswapping only supports .*LORA but {name} was passed"):
        hotswap_adapter(model, tmp_path, "default", torch_device="cpu")
    assert torch.equal(masked_logits(model, ids), before)
    set_peft_model_state_dict(model, get_peft_model_state_dict(other))
    assert torch.equal(masked_logits(model, ids), masked_logits(other, ids))


@ours
def test_unloading_gives_back_a_plain_model(method: str) -> None:
    kept = trained(method).unload()
    assert {name for name, _ in kept.named_modules()} == {
        name for name, _ in tiny_classifier("bert").named_modules()
    }


@ours
def test_checkpoints_of_activations_change_no_gradient(method: str) -> None:
    gradients = []
    for checkpointed in (False, True):
        model = adapted(tiny_classifier("bert"), method)
        if checkpointed:
            enable_checkpointing(model.get_base_model())
        torch.manual_seed(1)
        model.train()(input_ids=tokens(), labels=LABELS).loss.backward()
        gradients.append([model.get_parameter(n).grad for n in exchanged_parameters(model)])
    torch.testing.assert_close(*gradients)


@wrapping
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cast_as_a_whole_it_computes_in_that_type(method: str, dtype: torch.dtype) -> None:
    model, ids = trained(method), tokens()
    exact = masked_logits(model, ids)
    narrow = masked_logits(model.to(dtype), ids)
    assert narrow.dtype == dtype
    torch.testing.assert_close(narrow.float(), exact, atol=0.1, rtol=0.1)


@wrapping
def test_it_generates_from_ids_and_from_embeddings(method: str) -> None:
    model = adapted(tiny_lm("llama"), method, task="CAUSAL_LM")
    ids = tokens()
    train(model, ids, ids)
    written = model.generate(input_ids=ids, max_new_tokens=3, do_sample=False)
    assert written.shape == (4, 10)
    assert torch.equal(model.generate(ids, max_new_tokens=3, do_sample=False), written)
    embeddings = model.get_input_embeddings()(ids)
    torch.testing.assert_close(
        model(inputs_embeds=embeddings).logits, model(input_ids=ids).logits, atol=1e-5, rtol=1e-5
    )


@ours
def test_a_config_goes_through_its_file_and_a_subfolder(method: str, tmp_path: Path) -> None:
    model = trained(method)
    model.save_pretrained(tmp_path / "all" / "one")
    read = PeftConfig.from_pretrained(tmp_path / "all", subfolder="one")
    config = model.active_peft_config
    targets = config.target_modules
    config.target_modules = targets if isinstance(targets, str) else sorted(targets)  # a set
    assert type(read) is type(config)
    assert read.to_dict() == config.to_dict() | {"inference_mode": True}
    loaded = PeftModel.from_pretrained(
        tiny_classifier("bert"), tmp_path / "all", subfolder="one", is_trainable=True
    )
    assert set(exchanged_parameters(loaded)) == set(exchanged_parameters(model))
    assert torch.equal(masked_logits(loaded, tokens()), masked_logits(model, tokens()))


@wrapping
def test_two_adapters_are_active_and_a_model_card_is_written(method: str, tmp_path: Path) -> None:
    model, ids = adapted(tiny_lm("llama"), method, task="CAUSAL_LM"), tokens()
    train(model, ids, ids)
    model.add_adapter("second", CONFIGS[method]("CAUSAL_LM"))
    first = masked_logits(model, ids)
    model.base_model.set_adapter(["default", "second"])  # the second is the identity
    assert model.active_adapters == ["default", "second"]
    assert torch.equal(masked_logits(model, ids), first)
    model.create_or_update_model_card(str(tmp_path))
    assert "base_model" in (tmp_path / "README.md").read_text()
