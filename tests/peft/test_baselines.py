import re
import warnings

import pytest
import torch
from peft import LNTuningConfig, LoraConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from tests.peft.methods import adapted, masked_logits, state, train
from tests.peft.tiny_architectures import (
    BLOCKS,
    CONFIGS,
    PEFT_WARNING,
    tiny_classifier,
    tiny_lm,
    tokens,
)

from fedtt.errors import ConfigError, ModelError
from fedtt.peft import (
    LoRAXSConfig,
    ParameterKind,
    TTAdapterConfig,
    adapt,
    bitfit_config,
    exchanged_parameters,
    head_config,
    ia3_config,
    load_adapted,
    p_tuning_config,
    peft_config_from_table,
    prefix_config,
    prompt_config,
    vera_config,
)
from fedtt.peft.anatomy import ANATOMIES

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
LABELS = torch.tensor([0, 1, 1, 0])


def tails(names):
    return {name.rpartition(".")[2] for name in names}


def test_wrapping_a_model_says_nothing_that_nobody_can_do_anything_about(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = adapt(tiny_classifier("bert"), vera_config("SEQ_CLS", r=4))
        model.save_pretrained(tmp_path)
        load_adapted(tiny_classifier("bert"), tmp_path)


# Head and BitFit


def test_bitfit_trains_every_bias_of_the_base_and_no_weight():
    base = tiny_classifier("bert")
    biases = {name for name, _ in base.named_parameters() if name.endswith(".bias")}
    model = adapt(base, bitfit_config("SEQ_CLS"))
    kinds = exchanged_parameters(model)
    prefix = "base_model.model."
    found = {n.removeprefix(prefix) for n, k in kinds.items() if k is ParameterKind.BIASES}
    assert found == biases - {"classifier.bias"}
    head = {n for n, k in kinds.items() if k is ParameterKind.HEAD}
    assert tails(head) == {"weight", "bias"}
    assert len(head) == 2


def test_a_head_needs_a_task_that_has_one():
    with pytest.raises(ConfigError, match="this task has no head of its own") as caught:
        head_config("CAUSAL_LM")
    assert 'modules_to_save=["lm_head"]' in str(caught.value)
    model = adapt(tiny_lm("llama"), head_config("CAUSAL_LM", modules_to_save=["lm_head"]))
    assert set(exchanged_parameters(model)) == {
        "base_model.model.lm_head.modules_to_save.default.weight"
    }


# Prompts


@pytest.mark.parametrize("model_type", ["albert", "electra", "opt", "distilbert"])
@pytest.mark.parametrize("method", ["prompt", "p-tuning"])
def test_prompts_are_as_wide_as_the_embeddings(model_type, method):
    base = tiny_classifier(model_type)
    width = base.get_input_embeddings().weight.shape[1]
    model = adapted(base, method)
    assert model.prompt_encoder["default"].embedding.weight.shape == (3, width)
    assert train(model, tokens(), LABELS) == set(exchanged_parameters(model))


@pytest.mark.parametrize("model_type", ["deberta-v2", "mpnet", "distilbert"])
def test_a_prefix_needs_a_model_that_takes_one(model_type):
    with pytest.raises(ModelError, match="needs a model that takes past keys") as caught:
        adapt(tiny_classifier(model_type), prefix_config("SEQ_CLS"))
    assert f"model_type {model_type}" in str(caught.value)
    assert "prompt tuning or p-tuning" in str(caught.value)


@pytest.mark.parametrize("model_type", ["gpt2", "opt", "qwen2", "gemma2"])
def test_decoders_read_the_last_real_token_behind_a_prompt(model_type, tmp_path):
    ids, padding = tokens(3, 6), torch.zeros(3, 4, dtype=torch.long)
    model = adapted(tiny_classifier(model_type), "prompt")
    train(model, tokens(), LABELS)
    expected = masked_logits(model, ids)
    mask = torch.ones_like(ids)
    right = torch.cat([ids, padding], 1), torch.cat([mask, padding], 1)
    # Rows of different lengths in one batch.
    right[1][0, 4:] = 0
    short = masked_logits(model, ids[:1, :4])
    found = masked_logits(model, *right)
    torch.testing.assert_close(found[1:], expected[1:], atol=2e-5, rtol=0)
    torch.testing.assert_close(found[:1], short, atol=2e-5, rtol=0)
    model.save_pretrained(tmp_path)
    loaded = load_adapted(tiny_classifier(model_type), tmp_path)
    torch.testing.assert_close(masked_logits(loaded, *right), found, atol=1e-6, rtol=0)


def test_a_prompt_starts_with_embeddings_of_the_vocabulary():
    base = tiny_classifier("bert")
    words = base.get_input_embeddings().weight.detach().clone()
    torch.manual_seed(0)
    prompt = adapt(base, prompt_config("SEQ_CLS", num_tokens=5)).prompt_encoder["default"]
    drawn = prompt.embedding.weight.detach()
    assert all((words == token).all(dim=1).any() for token in drawn)
    torch.manual_seed(0)
    config = prompt_config("SEQ_CLS", num_tokens=500, init="random")
    spread = adapt(tiny_classifier("bert"), config).prompt_encoder["default"].embedding.weight.std()
    assert abs(spread.item() - 1) < 0.05


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: prompt_config(None, num_tokens=0), "prompt_config.num_tokens"),
        (lambda: prompt_config(None, init="zero"), "prompt_config.init"),
        (lambda: prefix_config(None, num_tokens=-1), "prefix_config.num_tokens"),
        (lambda: prefix_config(None, projection=0), "prefix_config.projection"),
        (lambda: p_tuning_config(None, width=0), "p_tuning_config.width"),
        (lambda: vera_config(None, r=0), "vera_config.r"),
    ],
)
def test_values_out_of_range_are_refused(make, where):
    with pytest.raises(ConfigError, match=f"where: {where}"):
        make()


# VeRA and IA3


def test_veras_projections_follow_from_the_seed_and_are_not_exchanged():
    models = [
        adapt(tiny_classifier("bert"), vera_config("SEQ_CLS", r=4, seed=seed)) for seed in (1, 1, 2)
    ]
    first, same, other = ({n: b for n, b in m.named_buffers() if "vera_" in n} for m in models)
    assert len(first) == 2
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    assert not set(first) & set(exchanged_parameters(models[0]))


def test_target_modules_are_the_callers_own():
    targets = ["query"]
    ia3 = ia3_config("SEQ_CLS", target_modules=targets, feedforward_modules=[])
    assert exchanged_parameters(adapt(tiny_classifier("bert"), ia3))
    vera = vera_config("SEQ_CLS", r=2, target_modules=targets)
    assert all(
        "query" in n or "classifier" in n
        for n in exchanged_parameters(adapt(tiny_classifier("bert"), vera))
    )
    assert targets == ["query"]


# adapt


def test_adapt_leaves_the_config_as_it_was():
    config = TTAdapterConfig(rank=2, bottleneck=8, task_type="SEQ_CLS")
    for _ in range(2):
        adapt(tiny_classifier("bert"), config)
    assert (config.target_modules, config.modules_to_save) == (None, None)
    prompt = prompt_config("SEQ_CLS")
    adapt(tiny_classifier("bert"), prompt)
    assert (prompt.token_dim, prompt.num_layers) == (None, None)


def test_an_architecture_without_defaults_lists_its_layers():
    with pytest.raises(ModelError, match="PEFT has no default target modules") as caught:
        adapt(tiny_classifier("mpnet"), ia3_config("SEQ_CLS"))
    assert "attention.attn.q (2)" in str(caught.value)
    assert 'IA3Config(target_modules=["...", "..."])' in str(caught.value)


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
def test_lora_goes_to_queries_and_values_of_every_known_architecture(model_type):
    """Where PEFT has no default of its own, ours; and where it has, ours are the same."""
    for method in ("lora", "lora-xs", "metatt", "vera"):
        model = adapted(tiny_classifier(model_type), method)
        layers = {name.split(".base_layer")[0] for name in state(model) if ".base_layer." in name}
        found = {name.removeprefix("base_model.model.") for name in layers}
        names = {name for name, _ in tiny_classifier(model_type).named_modules()}
        pattern = ANATOMIES[model_type].query_value_pattern
        assert found == {name for name in names if re.fullmatch(pattern, name)}
        assert not [name for name in found if "vision" in name]
        blocks = 1 if model_type == "albert" else BLOCKS
        assert len(found) == len(ANATOMIES[model_type].query_value) * blocks


def test_pefts_other_errors_pass_through():
    with pytest.raises(ValueError, match=r"Target modules .* not found"):
        adapt(tiny_classifier("bert"), LoraConfig(target_modules=["nowhere"]))


# Any config of PEFT


def test_a_table_becomes_the_config_of_any_method():
    config = peft_config_from_table(
        "lora", {"r": 3, "lora_alpha": 5, "use_rslora": True}, task_type="SEQ_CLS"
    )
    assert (type(config), config.r, config.use_rslora) == (LoraConfig, 3, True)
    assert config.task_type == "SEQ_CLS"
    assert type(peft_config_from_table("LN_TUNING", {}, task_type=None)) is LNTuningConfig
    assert type(peft_config_from_table("lora-xs", {"r": 2}, task_type=None)) is LoRAXSConfig


def test_every_method_of_peft_can_be_named():
    for peft_type in PEFT_TYPE_TO_CONFIG_MAPPING:
        with pytest.raises(ConfigError, match=r"has no option no_such_option"):
            peft_config_from_table(peft_type.value, {"no_such_option": 1}, task_type=None)


@pytest.mark.parametrize(
    ("peft_type", "options", "text"),
    [
        ("lorra", {}, "did you mean lora"),
        ("lora", {"lora_alfa": 1}, r"did you mean lora_alpha\?"),
        ("lora", {"lora_alfa": 1}, "LoraConfig has no option lora_alfa"),
        ("lora", {"inference_mode": True}, "LoraConfig has no option inference_mode"),
        ("lora", {"task_type": "SEQ_CLS"}, "LoraConfig has no option task_type"),
        ("vera", {"r": 2, "layers_pattern": "h"}, "PEFT refuses these options of VeraConfig"),
        ("tt-adapter", {"rank": 0}, "rank is out of range"),
    ],
)
def test_what_a_table_may_not_say(peft_type, options, text):
    with pytest.raises(ConfigError, match=text):
        peft_config_from_table(peft_type, options, task_type="SEQ_CLS")
