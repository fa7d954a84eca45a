"""16-bit products in float32: the right sums, rounded once, and a model that keeps its size."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from fedtt import wide_products
from fedtt.models import BaseModelSpec, load_classifier
from fedtt.wide_products import (
    TURNS,
    WideConv1D,
    WideLinear,
    linear,
    share_of_float32_time,
    widen_products,
)
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier, tokens
from tests.tiny import save_tiny_tokenizer

pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning"),
]
TYPES = [torch.bfloat16, torch.float16]


@pytest.fixture
def without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide_products, "share_of_float32_time", lambda _: 20.0)


@pytest.fixture
def measured_anew() -> Iterator[None]:
    share_of_float32_time.cache_clear()
    yield
    share_of_float32_time.cache_clear()


def layer(dtype: torch.dtype, *, rows: tuple[int, ...] = (3, 5)) -> tuple[Tensor, Tensor, Tensor]:
    """``x (rows, 48)``, ``W (20, 48)`` and ``b (20)``."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((*rows, 48), (20, 48), (20,))
    x, weight, bias = (torch.randn(s, generator=generator).to(dtype) for s in shapes)
    return x, weight, bias


@pytest.mark.usefixtures("without_instructions")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("block", [wide_products.BLOCK, 48 * 7, 1])
def test_sums_are_those_of_float32_rounded_once(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, block: int
) -> None:
    monkeypatch.setattr(wide_products, "BLOCK", block)
    x, weight, bias = layer(dtype)
    towards = torch.randn(3, 5, 20, generator=torch.Generator().manual_seed(1)).to(dtype)
    x.requires_grad_()
    found = linear(x, weight, bias)
    (grad,) = torch.autograd.grad(found, x, towards)
    exact = functional.linear(x.double(), weight.double(), bias.double())
    exact_grad = towards.double() @ weight.double()
    assert (found.dtype, grad.dtype) == (dtype, dtype)
    # Half a unit in the last place, and a little for sums in float32 that lie beside a tie.
    for ours, theirs in ((found, exact), (grad, exact_grad)):
        unit = torch.finfo(dtype).eps * theirs.abs().clamp(min=1e-2)
        assert ((ours.double() - theirs).abs() <= 0.501 * unit).all()


@pytest.mark.usefixtures("without_instructions")
def test_what_is_kept_for_the_backward_is_as_small_as_the_model() -> None:
    x, weight, bias = layer(torch.bfloat16)
    x.requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        linear(x, weight, bias)
    assert [t.data_ptr() for t in kept] == [weight.data_ptr()]


@pytest.mark.usefixtures("without_instructions")
def test_weights_that_are_trained_get_their_gradients() -> None:
    x, weight, bias = layer(torch.bfloat16)
    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    wide = [t.detach().float().requires_grad_() for t in inputs]
    found = torch.autograd.grad(linear(*inputs).float().square().sum(), inputs)
    expected = torch.autograd.grad(functional.linear(*wide).square().sum(), wide)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.float() - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.usefixtures("without_instructions")
def test_gradients_of_every_example_at_once_are_those_one_by_one() -> None:
    x, weight, bias = layer(torch.bfloat16)

    def loss(example: Tensor) -> Tensor:
        return linear(example, weight, bias).float().square().sum()

    together = torch.func.vmap(torch.func.grad(loss))(x)
    one_by_one = torch.stack([torch.func.grad(loss)(example) for example in x])
    assert torch.allclose(together.float(), one_by_one.float(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "case", ["float32", "two types", "one row", "with instructions", "another device"]
)
def test_everything_else_is_left_to_torch(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    share = 1.2 if case == "with instructions" else 20.0
    monkeypatch.setattr(wide_products, "share_of_float32_time", lambda _: share)
    monkeypatch.setattr(wide_products, "_FrozenProduct", None)
    kind = torch.float32 if case == "float32" else torch.bfloat16
    x, weight, bias = layer(kind, rows=(1,) if case == "one row" else (3, 5))
    if case == "another device":
        x, weight, bias = x.to("meta"), weight.to("meta"), bias.to("meta")
        assert linear(x, weight, bias).is_meta
    elif case == "two types":
        with pytest.raises(RuntimeError, match="dtype"):
            linear(x.half(), weight, bias)
    else:
        assert torch.equal(linear(x, weight, bias), functional.linear(x, weight, bias))


@pytest.mark.usefixtures("without_instructions")
def test_a_graph_of_a_widened_layer_in_float32_takes_any_number_of_rows() -> None:
    """As an export to ONNX needs it: no question about the rows is in it."""
    widened = nn.Sequential(nn.Linear(4, 3))
    widen_products(widened)
    rows = torch.export.Dim("rows", min=1, max=10**6)
    with torch.no_grad():
        graph = torch.export.export(widened, (torch.ones(5, 4),), dynamic_shapes=({0: rows},))
    assert graph.module()(torch.ones(1, 4)).shape == (1, 3)


def test_the_time_of_a_product_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, measured_anew: None
) -> None:
    products: list[tuple[Tensor, ...]] = []
    seconds = iter(range(1000))
    monkeypatch.setattr(wide_products.time, "perf_counter", lambda: next(seconds))
    monkeypatch.setattr(wide_products.functional, "linear", lambda *pair: products.append(pair))
    assert [share_of_float32_time(torch.bfloat16) for _ in range(2)] == [1.0, 1.0]
    assert {x.dtype for pair in products for x in pair} == {torch.float32, torch.bfloat16}
    assert len(products) == 2 * TURNS


@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_very_slow_is_found_out_in_two_turns(
    monkeypatch: pytest.MonkeyPatch, measured_anew: None, dtype: torch.dtype
) -> None:
    products: list[torch.dtype] = []
    now = 0.0

    def product(x: Tensor, _: Tensor) -> None:
        nonlocal now
        products.append(x.dtype)
        now += 0.6 if x.dtype == dtype else 0.01

    monkeypatch.setattr(wide_products.time, "perf_counter", lambda: now)
    monkeypatch.setattr(wide_products.functional, "linear", product)
    assert wide_products.multiplies_slowly(dtype)
    assert products == [torch.float32, dtype] * 2
    assert not wide_products.multiplies_slowly(torch.float32)


def test_a_model_measured_without_values_does_not_time_products_without_values(
    monkeypatch: pytest.MonkeyPatch, measured_anew: None
) -> None:
    seen: list[type] = []
    monkeypatch.setattr(wide_products.functional, "linear", lambda x, _: seen.append(type(x)) or x)
    with FakeTensorMode():
        share_of_float32_time(torch.bfloat16)
    assert set(seen) == {Tensor}


def load(directory: Path, dtype: str = "bfloat16") -> nn.Module:
    spec = BaseModelSpec(name=str(directory), dropout=0.0, dtype=dtype, device="cpu")
    return load_classifier(spec, label_names=["no", "yes"], pad_token_id=0, seed=0).model


@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "deberta-v2"])
def test_a_model_multiplies_in_float32_where_16_bits_are_slow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_type: str
) -> None:
    tiny_classifier(model_type).save_pretrained(tmp_path)
    save_tiny_tokenizer(tmp_path)
    models = {}
    for share in (1.0, 20.0):
        monkeypatch.setattr(wide_products, "share_of_float32_time", lambda _, share=share: share)
        models[share] = load(tmp_path)
    plain, wide = models[1.0], models[20.0]
    kinds = {type(module) for module in wide.modules()}
    assert kinds & {WideLinear, WideConv1D}
    assert not kinds & {nn.Linear, Conv1D}
    assert not {type(module) for module in plain.modules()} & {WideLinear, WideConv1D}
    # The same parameters, and a copy and a saved one go on as before.
    assert {n: (p.dtype, p.shape) for n, p in wide.state_dict().items()} == {
        n: (p.dtype, p.shape) for n, p in plain.state_dict().items()
    }
    wide.save_pretrained(tmp_path / "again")
    ids, mask = tokens(), torch.ones_like(tokens())
    exact = load(tmp_path, "float32")(input_ids=ids, attention_mask=mask).logits
    for model in (wide, copy.deepcopy(wide), load(tmp_path / "again")):
        logits = model(input_ids=ids, attention_mask=mask).logits.float()
        assert functional.mse_loss(logits, exact) < 0.02 * exact.var() + 1e-4
