"""Which type the base weights get by themselves, and that what is trained stays float32 in it."""

from collections.abc import Callable

import pytest
import torch

from fedtt.config import RunConfig, config_differences
from fedtt.engine.build import build_federation, resolve_auto
from fedtt.engine.build_method import build_method
from fedtt.engine.method_and_dtype import choose_dtype
from fedtt.engine.token_budget import auto_max_tokens
from fedtt.models import ModelOptions, fast_dtype

MakeConfig = Callable[..., RunConfig]
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "share", "dtype"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, 1.5, "float32"),
        ({"avx512_bf16": True, "amx_bf16": False}, 0.8, "float32"),  # a step is more than products
        ({"avx512_bf16": True, "amx_bf16": False}, 0.25, "bfloat16"),
        ({"amx_bf16": True, "avx512_bf16": False}, 1.0, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, 0.25, "float32"),
        ({}, 0.25, "float32"),  # of another architecture
    ],
)
def test_a_processor_gets_the_type_that_it_is_fast_in(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], share: float, dtype: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    monkeypatch.setattr("fedtt.models.number_type.share_of_float32_time", lambda _: share)
    assert fast_dtype(CPU) == dtype


@pytest.mark.parametrize(("capability", "dtype"), [((8, 0), "bfloat16"), ((7, 5), "float32")])
def test_a_gpu_too(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert fast_dtype(torch.device("cuda")) == dtype


@pytest.mark.parametrize(
    ("method", "quantization", "dtype"),
    [
        ({"name": "fedtt"}, None, "bfloat16"),
        ({"name": "fedtt"}, "4bit", "bfloat16"),
        ({"name": "full"}, None, "float32"),  # trains the base weights
        ({"name": "fedex-lora"}, None, "float32"),  # adds to them
        ({"name": "lora", "also_train": ["norms"]}, "4bit", "bfloat16"),
        ({"name": "lora", "also_train": ["biases"]}, "4bit", "float32"),
        ({"name": "ia3"}, "4bit", "float32"),  # trains inside the quantized layers
    ],
)
def test_auto_is_what_the_method_can_work_with(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    method: dict,
    quantization: str | None,
    dtype: str,
) -> None:
    monkeypatch.setattr("fedtt.engine.method_and_dtype.fast_dtype", lambda _: "bfloat16")
    config = make_config(method=method)
    built = build_method(config.method, task="classification", server=config.server)
    held = ModelOptions(quantization=quantization)  # type: ignore[arg-type]
    assert choose_dtype(built, held, dtype="auto", device="cpu") == dtype
    assert choose_dtype(built, held, dtype="float16", device="cpu") == "float16"


def test_a_run_keeps_the_type_that_it_began_with(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtt.engine.method_and_dtype.fast_dtype", lambda _: "bfloat16")
    given = make_config()
    settled = resolve_auto(given)
    assert (given.model.dtype, settled.model.dtype) == ("auto", "bfloat16")
    assert resolve_auto(settled) == settled
    # What is left to the machine goes with what another machine chose; what is said does not.
    assert config_differences(settled, given) == []
    other = make_config(model={**given.model.model_dump(exclude_none=True), "dtype": "float32"})
    assert config_differences(settled, other) == ["model.dtype: 'bfloat16' -> 'float32'"]


def test_what_is_trained_is_float32_in_a_bfloat16_model(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtt.engine.method_and_dtype.fast_dtype", lambda _: "bfloat16")
    federation = build_federation(make_config())
    exchanged = federation.initial.params
    types = {n: w.dtype for n, w in federation.model.named_parameters() if n not in exchanged}
    assert {t.dtype for t in exchanged.values()} == {torch.float32}
    assert types["base_model.model.bert.embeddings.word_embeddings.weight"] == torch.bfloat16


def test_a_run_keeps_the_budget_of_tokens_that_it_began_with(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who trains with whom goes by it, and with that the last bits of what they learn."""
    small, large = 2**27, 2**28  # bytes of memory of two machines
    monkeypatch.setattr("fedtt.engine.token_budget.memory_bytes", lambda _: small)
    given = make_config()
    settled = resolve_auto(given)
    # 2**27 / 8 bytes, over 4 bytes of 34 numbers in each of 2 layers of width 32.
    assert settled.cohort.max_tokens == 2**24 // (4 * 34 * 2 * 32) == 1927
    assert auto_max_tokens(build_federation(given).model, model_class="classification") == 1927
    monkeypatch.setattr("fedtt.engine.token_budget.memory_bytes", lambda _: large)
    assert resolve_auto(settled) == settled
    assert resolve_auto(given).cohort.max_tokens == 3855
    assert config_differences(settled, given) == []
    one_by_one = make_config(cohort={"batched": "off"})
    assert resolve_auto(one_by_one).cohort.max_tokens == "auto"
