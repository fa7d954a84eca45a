"""Attention written out for short texts in 16 bits is the attention that transformers has."""

from pathlib import Path

import pytest
import torch
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier, tokens
from tests.tiny import save_tiny_tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from fedtt.models import BaseModelSpec, ModelOptions, attention, load_classifier

pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning"),
]


@pytest.fixture(params=[1.0, 20.0], ids=["with instructions", "without"])
def share(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Time of a product in 16 bits, as a share of its time in float32."""
    found: float = request.param
    monkeypatch.setattr("fedtt.wide_products.share_of_float32_time", lambda _: found)
    return found


@pytest.fixture
def with_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtt.wide_products.share_of_float32_time", lambda _: 1.0)


def heads(
    *, groups: int = 1, length: int = 9, dtype: torch.dtype = torch.bfloat16
) -> tuple[nn.Module, list[Tensor]]:
    """A module and the queries, keys and values of 4 heads, 3 texts, 8 wide."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(3, 4, length, 8), (3, 4 // groups, length, 8), (3, 4 // groups, length, 8)]
    drawn = [torch.randn(s, generator=generator).to(dtype).requires_grad_() for s in shapes]
    module = nn.Module()
    module.num_key_value_groups = groups  # type: ignore[assignment]
    return module, drawn


def padded(length: int = 9) -> Tensor:
    """The last text has 4 tokens, the second all but one."""
    ends = torch.tensor([length, length - 1, 4])
    return (torch.arange(length) < ends[:, None])[:, None, None, :]


MASKS = {
    "none": (None, False),
    "causal": (None, True),
    "padded": (padded(), False),
    "added": (torch.zeros(3, 1, 1, 9).masked_fill(~padded(), -1e4), False),
}


@pytest.mark.usefixtures("share")
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("mask", sorted(MASKS))
def test_outputs_and_gradients_are_those_of_float32(mask: str, groups: int) -> None:
    given, causal = MASKS[mask]
    module, narrow = heads(groups=groups)
    wide = [x.detach().float().requires_grad_() for x in narrow]
    fits = given if given is None or given.dtype == torch.bool else given.bfloat16()
    kwargs = {"scaling": 0.4, "is_causal": causal}
    ours, _ = attention.attend(module, *narrow, fits, **kwargs)
    theirs, _ = sdpa_attention_forward(module, *wide, given, **kwargs)
    towards = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(4))
    found = torch.autograd.grad(ours, narrow, towards.bfloat16())
    expected = torch.autograd.grad(theirs, wide, towards)
    assert ours.shape == theirs.shape
    for a, b in [(ours, theirs), *zip(found, expected, strict=True)]:
        assert (a.float() - b).norm() < 0.02 * b.norm()


@pytest.mark.usefixtures("share")
def test_the_scale_is_that_of_the_heads_width_where_none_is_given() -> None:
    module, narrow = heads()
    ours, _ = attention.attend(module, *narrow, None, is_causal=False)
    scaled, _ = attention.attend(module, *narrow, None, is_causal=False, scaling=8**-0.5)
    other, _ = attention.attend(module, *narrow, None, is_causal=False, scaling=1.0)
    assert torch.equal(ours, scaled)
    assert not torch.equal(ours, other)


@pytest.mark.usefixtures("share")
def test_dropout_drops_weights_at_its_rate() -> None:
    module, (query, key, value) = heads()
    ones = torch.ones_like(value)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kept, _ = attention.attend(module, query, key, ones, None, dropout=0.5, is_causal=False)
    alone, _ = attention.attend(module, query, key, ones, None, is_causal=False)
    assert torch.allclose(alone.float(), torch.ones_like(alone).float(), atol=0.02)
    assert abs(kept.float().mean().item() - 1) < 0.1
    assert kept.float().std() > 0.1


@pytest.mark.usefixtures("with_instructions")
@pytest.mark.parametrize("case", ["long", "float32", "no gradient", "position bias"])
def test_everything_else_is_left_to_transformers(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *_, **__: ("theirs", None))
    long = attention.SHORT + 1 if case == "long" else 9
    module, drawn = heads(length=long, dtype=torch.float32 if case == "float32" else torch.bfloat16)
    bias = {"position_bias": torch.zeros(1, 4, 9, 9)} if case == "position bias" else {}
    with torch.set_grad_enabled(case != "no gradient"):
        assert attention.attend(module, *drawn, None, **bias) == ("theirs", None)


def test_without_instructions_the_fused_kernel_gets_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[torch.dtype] = []

    def fused(_: nn.Module, *given: Tensor, attention_mask: Tensor, **__: object) -> tuple:
        seen.extend(x.dtype for x in (*given, attention_mask))
        return given[0].transpose(1, 2), None

    monkeypatch.setattr("fedtt.wide_products.share_of_float32_time", lambda _: 20.0)
    monkeypatch.setattr(attention, "sdpa_attention_forward", fused)
    module, drawn = heads()
    output, _ = attention.attend(module, *drawn, torch.zeros(3, 1, 9, 9, dtype=torch.bfloat16))
    assert output.dtype == torch.bfloat16
    assert seen == [torch.float32] * 4


def load(directory: Path, dtype: str, **options: str) -> nn.Module:
    return load_classifier(
        BaseModelSpec(
            name=str(directory),
            dropout=0.0,
            dtype=dtype,
            device="cpu",
            options=ModelOptions(**options),  # type: ignore[arg-type]
        ),
        label_names=["no", "yes"],
        pad_token_id=0,
        seed=0,
    ).model


@pytest.mark.usefixtures("share")
@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "qwen3", "mpnet", "deberta"])
def test_models_in_bfloat16_attend_with_it_where_they_can(tmp_path: Path, model_type: str) -> None:
    tiny_classifier(model_type).save_pretrained(tmp_path)
    save_tiny_tokenizer(tmp_path)
    narrow, wide = load(tmp_path, "bfloat16"), load(tmp_path, "float32")
    used = [model.config._attn_implementation for model in (narrow, wide)]
    assert used in (["eager", "eager"], [attention.NAME, "sdpa"])
    assert used[1] == ("eager" if model_type in {"deberta", "mpnet"} else "sdpa")
    assert attention.NAME not in narrow.config.to_json_string()  # nothing of it is saved
    ids = tokens()
    mask = torch.ones_like(ids)
    mask[-1, 4:] = 0
    outputs = [model(input_ids=ids, attention_mask=mask).logits for model in (narrow, wide)]
    assert functional.mse_loss(outputs[0].float(), outputs[1]) < 0.02 * outputs[1].var() + 1e-4


def test_an_attention_that_is_asked_for_is_the_one_that_is_used(tmp_path: Path) -> None:
    tiny_classifier("bert").save_pretrained(tmp_path)
    save_tiny_tokenizer(tmp_path)
    for name in ("eager", "sdpa"):
        model = load(tmp_path, "bfloat16", attention=name)
        assert model.config._attn_implementation == name
