"""What every adapter must do, ours and PEFT's, on an encoder and on a decoder."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from tests.peft.methods import CONFIGS, OURS, adapted, masked_logits, state, train
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier, tiny_lm, tokens
from transformers import AutoModelForSequenceClassification, BertConfig

from fedtt.errors import ModelError
from fedtt.peft import (
    BottleneckAdapterConfig,
    LoRAXSConfig,
    ParameterKind,
    adapt,
    bitfit_config,
    count_by_kind,
    exchanged_parameters,
    full_config,
    head_config,
    ia3_config,
    load_adapted,
    p_tuning_config,
    prefix_config,
    prompt_config,
    vera_config,
)

pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    # VeRA without its projections in the file says that they are drawn again.
    pytest.mark.filterwarnings("ignore:Specified to not .* vera_A and vera_B:UserWarning"),
    # LN tuning works on any module, and PEFT warns about all but linear ones.
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
]

# These move the model's output from the start: something stands before the text.
NOT_THE_IDENTITY = {"prompt", "prefix", "prefix-projection", "p-tuning"}
# What is trained is a network; what is saved is the prompt that comes out of it.
SAVES_WHAT_COMES_OUT = {"prefix-projection", "p-tuning"}
PAIRS = [
    (method, model_type)
    for method in CONFIGS
    for model_type in ("bert", "llama")
    if (method, model_type) != ("bitfit", "llama")  # LLaMA has no biases
]
LABELS = torch.tensor([0, 1, 1, 0])

every_pair = pytest.mark.parametrize(
    ("method", "model_type"), PAIRS, ids=[" ".join(pair) for pair in PAIRS]
)


@every_pair
def test_the_start_is_the_base_model_or_the_same_every_time(method, model_type):
    ids = tokens()
    base = masked_logits(tiny_classifier(model_type), ids)
    start = masked_logits(adapted(tiny_classifier(model_type), method), ids)
    assert torch.equal(start, base) == (method not in NOT_THE_IDENTITY)
    again = adapted(tiny_classifier(model_type), method)
    assert torch.equal(masked_logits(again, ids), start)
    if method in NOT_THE_IDENTITY:
        other = adapted(tiny_classifier(model_type), method, seed=1)
        assert not torch.equal(masked_logits(other, ids), start)


@every_pair
def test_what_is_exchanged_is_what_trains_and_all_of_it_does(method, model_type):
    model = adapted(tiny_classifier(model_type), method)
    exchanged = set(exchanged_parameters(model))
    assert exchanged == {n for n, p in model.named_parameters() if p.requires_grad}
    before = state(model)
    reached = train(model, tokens(), LABELS)
    after = state(model)
    assert before.keys() == after.keys()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == exchanged  # weight decay and buffers touch nothing else
    assert reached == exchanged  # no parameter is dead


@every_pair
def test_what_is_saved_is_what_is_loaded(method, model_type, tmp_path):
    ids = tokens()
    model = adapted(tiny_classifier(model_type), method)
    train(model, ids, LABELS)
    trained = masked_logits(model, ids)
    model.save_pretrained(tmp_path)
    loaded = load_adapted(tiny_classifier(model_type), tmp_path)
    torch.testing.assert_close(masked_logits(loaded, ids), trained, atol=1e-6, rtol=0)
    if method in SAVES_WHAT_COMES_OUT:
        return
    # The file holds every exchanged value.
    saved = load_file(tmp_path / "adapter_model.safetensors").values()
    for name in exchanged_parameters(model):
        value = model.get_parameter(name)
        assert any(v.shape == value.shape and torch.equal(v, value) for v in saved), name


@every_pair
def test_names_and_shapes_are_known_without_weights(method, model_type):
    shapes = {}
    for device in ("cpu", "meta"):
        with torch.device(device):
            base = tiny_classifier(model_type)
        model = adapted(base, method)
        kinds = exchanged_parameters(model)
        shapes[device] = {n: (k, model.get_parameter(n).shape) for n, k in kinds.items()}
    assert all(parameter.is_meta for parameter in model.parameters())
    assert shapes["cpu"] == shapes["meta"]


@every_pair
def test_padding_changes_nothing(method, model_type):
    model = adapted(tiny_classifier(model_type), method)
    train(model, tokens(), LABELS)
    ids = tokens(4, 6, seed=3)
    padding = torch.zeros(4, 5, dtype=torch.long)  # pad_token_id is 0
    padded, mask = (torch.cat([t, padding], dim=1) for t in (ids, torch.ones_like(ids)))
    torch.testing.assert_close(
        masked_logits(model, padded, mask), masked_logits(model, ids), atol=2e-5, rtol=0
    )


def test_the_padding_test_can_fail():
    torch.manual_seed(0)
    # PEFT without our hook: a decoder that reads the padding.
    model = get_peft_model(tiny_classifier("llama"), prompt_config("SEQ_CLS", num_tokens=3))
    ids, padding = tokens(4, 6, seed=3), torch.zeros(4, 5, dtype=torch.long)
    padded, mask = (torch.cat([t, padding], dim=1) for t in (ids, torch.ones_like(ids)))
    difference = masked_logits(model, padded, mask) - masked_logits(model, ids)
    assert difference.abs().max() > 0.1


def test_bitfit_on_a_model_without_biases_says_so():
    with pytest.raises(ModelError, match="the model has no biases to train") as caught:
        adapt(tiny_classifier("llama"), bitfit_config("SEQ_CLS"))
    assert "only the head would be trained" in str(caught.value)


HEAD, KINDS = 384 * 2 + 2, ParameterKind
MINILM = BertConfig(
    hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # 6 layers, two adapters each, of 384 x 64 + 64 x 384 and 64 + 384 biases
        (
            BottleneckAdapterConfig(task_type="SEQ_CLS"),
            {KINDS.ADAPTER: 12 * 2 * 384 * 64, KINDS.BIASES: 12 * (64 + 384)},
        ),
        # query and value of 6 layers, 16 x 16
        (LoRAXSConfig(task_type="SEQ_CLS"), {KINDS.LORA_XS: 6 * 2 * 16 * 16}),
        # LayerNorm of the embeddings; a layer's query, key, value, output and LayerNorm (5 x 384),
        # inner (1536), output and LayerNorm (2 x 384); the pooler
        (
            bitfit_config("SEQ_CLS"),
            {KINDS.BIASES: 384 + 6 * (5 * 384 + 1536 + 2 * 384) + 384},
        ),
        # 30,522 words, 512 positions, 2 types, LayerNorm; a layer: 4 of 384 x 384 with biases, two
        # LayerNorms, 384 x 1536 and back with biases; the pooler
        (
            full_config("SEQ_CLS"),
            {
                KINDS.BASE: (30_522 + 512 + 2 + 2) * 384
                + 6 * (4 * (384 * 384 + 384) + 4 * 384 + 2 * 384 * 1536 + 1536 + 384)
                + 384 * 384
                + 384
            },
        ),
        (head_config("SEQ_CLS"), {}),
        (prompt_config("SEQ_CLS"), {KINDS.PROMPT: 20 * 384}),
        # a key and a value for each of 20 tokens and 6 layers
        (prefix_config("SEQ_CLS"), {KINDS.PROMPT: 20 * 6 * 2 * 384}),
        # the tokens, and 384 -> 128 -> 128 -> 384 with biases
        (
            p_tuning_config("SEQ_CLS"),
            {KINDS.PROMPT: 20 * 384 + (384 + 1) * 128 + (128 + 1) * 128 + (128 + 1) * 384},
        ),
        # a layer's keys, values, and inputs of both output projections
        (ia3_config("SEQ_CLS"), {KINDS.IA3: 6 * (384 + 384 + 384 + 1536)}),
        # query and value of 6 layers: 384 of the output, 256 of the rank
        (vera_config("SEQ_CLS"), {KINDS.VERA: 6 * 2 * (384 + 256)}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_minilms_parameters_by_kind(config, expected):
    with torch.device("meta"):
        base = AutoModelForSequenceClassification.from_config(MINILM)
    found = count_by_kind(adapt(base, config))
    assert found == {**expected, KINDS.HEAD: HEAD}


def test_full_fine_tuning_trains_all_of_minilm():
    with torch.device("meta"):
        base = AutoModelForSequenceClassification.from_config(MINILM)
    total = sum(p.numel() for p in base.parameters())
    assert total == 22_713_216 + HEAD  # the model card's 22.7 million, and the head
    assert sum(count_by_kind(adapt(base, full_config("SEQ_CLS"))).values()) == total


@pytest.mark.parametrize("method", [*OURS, "lora", "ia3", "full", "prefix"])
def test_causal_language_models_too(method, tmp_path):
    ids = tokens()
    model = adapted(tiny_lm("llama", tie_word_embeddings=True), method, task="CAUSAL_LM")
    exchanged, before = set(exchanged_parameters(model)), state(model)
    assert not [name for name in exchanged if "lm_head" in name]
    assert train(model, ids, ids) == exchanged
    after = state(model)
    assert {n for n in before if not torch.equal(before[n], after[n])} == exchanged
    model.save_pretrained(tmp_path)
    loaded = load_adapted(tiny_lm("llama", tie_word_embeddings=True), tmp_path)
    torch.testing.assert_close(
        masked_logits(loaded, ids), masked_logits(model, ids), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("method", OURS)
def test_our_tuners_turn_off_and_come_in_twos(method, tmp_path: Path):
    ids = tokens()
    base = masked_logits(tiny_classifier("bert"), ids)
    model = adapted(tiny_classifier("bert"), method)
    train(model, ids, LABELS)
    first = masked_logits(model, ids)
    with model.disable_adapter():
        assert torch.equal(masked_logits(model, ids), base)
    assert torch.equal(masked_logits(model, ids), first)

    model.add_adapter("second", CONFIGS[method]("SEQ_CLS"))
    assert torch.equal(masked_logits(model, ids), first)
    model.set_adapter("second")
    assert torch.equal(masked_logits(model, ids), base)
    assert all(".second." in f"{name}." for name in exchanged_parameters(model))
    train(model, ids, LABELS, steps=1)
    second = masked_logits(model, ids)
    model.set_adapter("default")
    assert torch.equal(masked_logits(model, ids), first)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny_classifier("bert"), tmp_path / "second")
    assert torch.equal(masked_logits(loaded, ids), second)
    model.delete_adapter("second")
    assert torch.equal(masked_logits(model, ids), first)
    # The base weights are what they were.
    weights, unloaded = tiny_classifier("bert").state_dict(), model.unload().state_dict()
    assert all(
        torch.equal(unloaded[k], v) for k, v in weights.items() if not k.startswith("classifier")
    )


@pytest.mark.parametrize("method", [*OURS, "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_our_tuners_load_without_a_second_copy_and_in_low_precision(method, dtype, tmp_path):
    ids = tokens()
    model = adapted(tiny_classifier("bert").to(dtype), method)
    train(model, ids, LABELS)
    trained = masked_logits(model, ids)
    assert trained.dtype == dtype or method != "full"
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(
        tiny_classifier("bert").to(dtype), tmp_path, low_cpu_mem_usage=True
    )
    assert not any(tensor.is_meta for tensor in state(loaded).values())
    assert torch.equal(masked_logits(loaded, ids), trained)
    if method != "full":
        own = [n for n, k in exchanged_parameters(model).items() if k is not ParameterKind.HEAD]
        assert {model.get_parameter(name).dtype for name in own} == {torch.float32}
