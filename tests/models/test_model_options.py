"""What of ``[model]`` goes through to transformers: that it took effect, and what is refused."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.peft.tiny_architectures import (
    BLOCKS,
    CONFIGS,
    HIDDEN,
    PEFT_WARNING,
    logits,
    tiny_classifier,
    tiny_config,
    tokens,
)
from tests.tiny import save_tiny_tokenizer
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.engine.inprocess import local_clients
from fedtt.errors import ConfigError, FedttError, ModelError
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import run_round
from fedtt.models import (
    BaseModelSpec,
    ModelOptions,
    build_empty_model,
    check_options,
    load_classifier,
    option_checks,
)
from fedtt.peft import TTAdapterConfig, adapt

MakeConfig = Callable[..., RunConfig]
pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Directory of a tiny model with a tokenizer, by its type."""
    root = tmp_path_factory.mktemp("models")

    def save(model_type: str) -> str:
        if not (root / model_type).exists():
            tiny_classifier(model_type).save_pretrained(root / model_type)
            save_tiny_tokenizer(root / model_type)
        return str(root / model_type)

    return save


def load(name: str, *, dropout: float | None = 0.0, dtype: str = "float32", **options: Any):
    return load_classifier(
        BaseModelSpec(
            name=name,
            dropout=dropout,
            dtype=dtype,
            device="cpu" if "device_map" not in options else "auto",
            options=ModelOptions(**options),
        ),
        label_names=["no", "yes"],
        pad_token_id=0,
        seed=0,
    ).model


def adapted(base: PreTrainedModel) -> PeftModel:
    torch.manual_seed(1)
    # Not the identity at the start, or the first step would move one core of each adapter only.
    config = TTAdapterConfig(task_type="SEQ_CLS", rank=2, bottleneck=8, init_weights=False)
    return adapt(base, config)


@contextmanager
def saved_bytes() -> Iterator[list[int]]:
    """Sizes of what autograd keeps for the backward pass, every storage once."""
    seen: dict[int, int] = {}
    total = [0]

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if seen.setdefault(storage.data_ptr(), storage.nbytes()) is not None:
            total[0] = sum(seen.values())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total


# Gradient checkpointing


def gradients(model: PeftModel, ids: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
    model.train()
    torch.manual_seed(5)  # of dropout
    with saved_bytes() as kept:
        loss = model(input_ids=ids, labels=torch.arange(len(ids)) % 2).loss
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert None not in found.values()
    return found, kept[0]


def in_default_run(model_types: set[str]) -> list[Any]:
    """Every architecture that can, those outside ``model_types`` in the slow run."""
    return [
        pytest.param(name, marks=[] if name in model_types else [pytest.mark.slow])
        for name in sorted(set(CONFIGS) - {"albert", "mpnet"})  # refused, as a test below says
    ]


@pytest.mark.parametrize(
    "model_type", in_default_run({"bert", "deberta-v2", "roberta", "llama", "gpt2", "qwen2"})
)
def test_checkpointing_gives_the_same_gradients_and_keeps_less(
    model_type: str, saved: Callable[[str], str]
) -> None:
    name, ids = saved(model_type), tokens(8, 24)
    # With dropout: what is computed again must draw the same.
    plain, kept = gradients(adapted(load(name, dropout=0.2)), ids)
    model = adapted(load(name, dropout=0.2, gradient_checkpointing=True))
    checkpointed, kept_then = gradients(model, ids)
    assert plain.keys() == checkpointed.keys()
    for key, gradient in plain.items():
        assert float(gradient.abs().max()) > 0, key
        torch.testing.assert_close(checkpointed[key], gradient, rtol=1e-5, atol=1e-7)
    # The inputs of the blocks, which the blocks themselves hold on to, are counted as well.
    inputs = BLOCKS * 8 * 24 * HIDDEN * 4
    assert kept_then + inputs < kept / 2


def test_every_architecture_checkpoints_or_says_that_it_cannot() -> None:
    for model_type in sorted(CONFIGS):
        config = tiny_config(model_type)
        base = BaseModelSpec(
            name=model_type,
            dtype="float32",
            device="cpu",
            options=ModelOptions(gradient_checkpointing=True),
        )
        if build_empty_model(config, task="classification").supports_gradient_checkpointing:
            check_options(base, config, task="classification")
        else:
            with pytest.raises(ModelError, match="has no gradient checkpointing in transformers"):
                check_options(base, config, task="classification")


def one_round(config: RunConfig) -> dict[str, torch.Tensor]:
    federation = build_federation(config)
    state, _ = run_round(
        federation.initial,
        method=federation.method,
        cohorts=Cohorts(population=federation.population, seed=config.seed),
        learning_rate=config.client.learning_rate,
        call_clients=local_clients(
            federation,
            state=federation.initial,
            seed=config.seed,
        ),
    )
    assert all(not v.equal(state.params[n]) for n, v in federation.initial.params.items())
    return dict(state.params)


@pytest.mark.parametrize("method", ["fedtt", "lora", "adapter", "bitfit", "prompt", "full", "head"])
def test_a_round_with_checkpointing_is_a_round_without(
    method: str, make_config: MakeConfig, tiny_bert: Path
) -> None:
    model = {"name": str(tiny_bert), "max_length": 16, "device": "cpu"}
    plain, other = (
        one_round(
            make_config(method={"name": method}, model=model | {"gradient_checkpointing": on})
        )
        for on in (False, True)
    )
    for name, value in plain.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)


def test_a_prefix_needs_the_cache_that_checkpointing_has_not(
    make_config: MakeConfig, tiny_bert: Path
) -> None:
    model = {"name": str(tiny_bert), "max_length": 16, "gradient_checkpointing": True}
    config = make_config(model=model, method={"name": "prefix", "num_tokens": 4})
    with pytest.raises(ConfigError, match=r"a prefix lies in the cache.*\n.*gradient_checkpoint"):
        build_federation(config)


# Attention


@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2"])
def test_attention_is_computed_as_asked_and_comes_to_the_same(
    model_type: str, saved: Callable[[str], str]
) -> None:
    models = {kind: load(saved(model_type), attention=kind) for kind in ("eager", "sdpa")}
    assert {k: m.config._attn_implementation for k, m in models.items()} == {
        "eager": "eager",
        "sdpa": "sdpa",
    }
    found = [logits(model, tokens()) for model in models.values()]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_attention_that_the_architecture_has_not() -> None:
    config = tiny_config("deberta-v2")
    with pytest.raises(ModelError, match="cannot compute its attention that way") as caught:
        check(config, attention="sdpa")
    assert "model.attn_implementation = 'sdpa'" in str(caught.value)
    assert 'fix: attn_implementation = "eager"' in str(caught.value)


def check(config: Any, *, dtype: str = "float32", device: str = "cpu", **options: Any) -> None:
    base = BaseModelSpec(name="tiny", dtype=dtype, device=device, options=ModelOptions(**options))
    check_options(base, config, task="classification")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_flash_attention_needs_a_gpu_and_16_bits(dtype: str) -> None:
    with pytest.raises(ModelError, match=rf"(?s)in 16 bits.*got: dtype {dtype} on cpu.*sdpa"):
        check(tiny_config("llama"), attention="flash_attention_2", dtype=dtype)


# Devices


@pytest.mark.parametrize("device_map", ["auto", "sequential", {"": "cpu"}])
def test_a_device_map_reaches_transformers(
    device_map: Any, saved: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    load_weights = AutoModelForSequenceClassification.from_pretrained

    def record(*arguments: Any, **options: Any) -> Any:
        seen.update(options)
        return load_weights(*arguments, **options)

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", record)
    model = load(saved("llama"), device_map=device_map)
    assert seen["device_map"] == device_map
    assert torch.equal(logits(model, tokens()), logits(load(saved("llama")), tokens()))


def test_a_model_that_found_no_place(saved: Callable[[str], str]) -> None:
    with pytest.raises(ModelError, match=r"(?s)does not fit into.*no place for 21 weights: mod"):
        load(saved("llama"), device_map={"": "meta"})


def test_a_device_and_a_map_exclude_each_other(make_config: MakeConfig, tiny_bert: Path) -> None:
    model = {"name": str(tiny_bert), "max_length": 16, "device": "cpu", "device_map": "auto"}
    with pytest.raises(ConfigError, match=r"(?s)two things.*model\.device_map.*one of the two"):
        build_federation(make_config(model=model))


@pytest.mark.parametrize("score", ["cpu", 0])
@pytest.mark.parametrize("model", ["disk", "cpu"])
def test_layers_are_all_where_they_can_be_trained(
    model: str, score: str | int, saved: Callable[[str], str]
) -> None:
    device_map = {"model": model, "score": score}
    if (model, score) == ("cpu", "cpu"):
        load(saved("llama"), device_map=device_map)
        return
    with pytest.raises(ConfigError, match="left on the disk, or on the CPU beside other") as caught:
        load(saved("llama"), device_map=device_map)
    assert f"got: {device_map}" in str(caught.value)


def test_a_device_map_that_forgets_a_part(saved: Callable[[str], str]) -> None:
    with pytest.raises(ConfigError, match="no place for a part of the model") as caught:
        load(saved("llama"), device_map={"model.layers.0": "cpu"})
    assert "model.embed_tokens.weight" in str(caught.value)
    assert 'fix: add "" = "cpu"' in str(caught.value)


# Quantization


def test_quantization_without_its_package(
    saved: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(option_checks, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(ModelError, match=r"need a package that is not installed") as caught:
        load(saved("llama"), quantization="4bit")
    assert "where: model.quantization = '4bit'" in str(caught.value)
    assert 'pip install "fedtt[quantization]", or leave quantization out' in str(caught.value)


def test_quantization_where_the_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*, raise_exception: bool) -> None:
        raise RuntimeError("None of the available devices are supported")

    monkeypatch.setattr(option_checks, "is_bitsandbytes_available", lambda: True)
    monkeypatch.setattr(option_checks, "validate_bnb_backend_availability", refuse)
    with pytest.raises(ModelError, match=r"(?s)nothing for this device.*None of the available"):
        check(tiny_config("llama"), quantization="8bit")


def test_quantized_weights_are_not_quantized_again() -> None:
    config = tiny_config("llama", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ModelError, match="the weights are quantized already"):
        check(config, quantization="8bit")
    rounded = BaseModelSpec(
        name="some/where.gguf",
        dtype="float32",
        device="cpu",
        options=ModelOptions(quantization="8bit"),
    )
    with pytest.raises(ModelError, match="the weights are quantized already"):
        check_options(rounded, tiny_config("llama"), task="causal")


@pytest.mark.parametrize("method", ["full", "lora-xs", "fedex-lora"])
def test_methods_that_need_the_base_weights_refuse_quantized_ones(
    method: str, make_config: MakeConfig, tiny_bert: Path
) -> None:
    model = {"name": str(tiny_bert), "max_length": 16, "quantization": "8bit"}
    with pytest.raises(ConfigError, match=f"{method} computes with the base weights"):
        build_federation(make_config(model=model, method={"name": method}))


@pytest.mark.parametrize("method", ["bitfit", "ia3"])
def test_what_is_trained_inside_quantized_layers_needs_float32_around_it(
    method: str, make_config: MakeConfig, tiny_bert: Path
) -> None:
    held = {"quantization": "4bit", "dtype": "float16"}
    config = make_config(model={"name": str(tiny_bert)} | held, method={"name": method})
    with pytest.raises(ConfigError, match=rf"(?s){method} trains float32 inside.*got: float16"):
        build_federation(config)


has_bitsandbytes = pytest.mark.skipif(
    not option_checks.is_bitsandbytes_available(),
    reason="the package bitsandbytes is not installed (extra: quantization)",
)


@has_bitsandbytes
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "llama", "gpt2"])
@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_frozen_weights_are_rounded_and_the_head_is_not(
    quantization: str, model_type: str, tmp_path: Path
) -> None:
    # bitsandbytes rounds blocks of 64 numbers.
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32}
    if model_type == "gpt2":
        sizes = {"n_embd": 64}
    if model_type == "distilbert":
        sizes = {"dim": 64, "hidden_dim": 128}
    tiny_classifier(model_type, **sizes, initializer_range=0.05).save_pretrained(tmp_path)
    exact, rounded = load(str(tmp_path)), load(str(tmp_path), quantization=quantization)
    stored = {"8bit": torch.int8, "4bit": torch.uint8}[quantization]
    inside = [p for n, p in rounded.named_parameters() if p.dtype == stored]
    assert len(inside) >= 4 * BLOCKS
    heads = {n for n, _ in rounded.named_children() if n != rounded.base_model_prefix}
    for head in heads:
        for name, weight in rounded.get_submodule(head).named_parameters():
            assert weight.equal(exact.get_submodule(head).get_parameter(name))
    expected, found = logits(exact, tokens()), logits(rounded, tokens())
    error = float((found - expected).norm() / expected.norm())
    assert 0 < error < {"8bit": 0.1, "4bit": 0.5}[quantization]
    gradients(adapted(rounded), tokens())


@has_bitsandbytes
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "held",
    [
        {"quantization": "8bit"},
        {"quantization": "8bit", "dtype": "bfloat16"},
        {"quantization": "8bit", "dtype": "float16"},
        {"quantization": "4bit", "dtype": "bfloat16"},
        {"quantization": "4bit", "gradient_checkpointing": True},
    ],
)
@pytest.mark.parametrize(
    "method",
    [
        "fedtt",
        "lora",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("adapter", "bitfit", "prompt", "ia3", "vera", "head", "flexlora")
        ),
    ],
)
def test_a_round_over_quantized_weights(
    method: str, held: dict[str, Any], make_config: MakeConfig, tiny_bert: Path
) -> None:
    model = {"name": str(tiny_bert), "max_length": 16, "device": "cpu"} | held
    config = make_config(model=model, method={"name": method})
    if method in {"bitfit", "ia3"} and held.get("dtype", "float32") != "float32":
        with pytest.raises(ConfigError, match=rf"{method} trains float32 inside the quantized"):
            build_federation(config)
        return
    params = one_round(config)
    assert {value.dtype for value in params.values()} == {torch.float32}


# Whatever is wrong is said before any data is read.


@pytest.mark.parametrize(
    "changes",
    [
        {"attn_implementation": "flash_attention_2"},
        {"device": "cpu", "device_map": "auto"},
        {"device": "warp9"},
    ],
)
def test_options_are_checked_before_the_texts_are_tokenized(
    changes: dict[str, Any],
    make_config: MakeConfig,
    tiny_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedtt.engine.build.load_tokenizer", None)
    with pytest.raises(FedttError, match=r"where: model\."):
        build_federation(make_config(model={"name": str(tiny_bert), "max_length": 16} | changes))
