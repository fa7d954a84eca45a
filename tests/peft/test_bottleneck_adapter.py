import math

import pytest
import torch
from peft import PeftConfig, get_peft_model
from tests.peft.tiny_architectures import (
    CONFIGS,
    HIDDEN,
    PEFT_WARNING,
    logits,
    tiny_classifier,
    tiny_lm,
    tokens,
)
from torch import nn
from torch.nn import functional

from fedtt.errors import ConfigError, ModelError
from fedtt.peft import (
    BottleneckAdapterConfig,
    BottleneckAdapterLayer,
    DenseLinear,
    ParameterKind,
    TTAdapterConfig,
    TTAdapterLayer,
    count_by_kind,
)

pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning"),
]


def config(**overrides):
    return BottleneckAdapterConfig(**{"bottleneck": 8, "task_type": "SEQ_CLS", **overrides})


def places(model, layer):
    return [name for name, module in model.named_modules() if isinstance(module, layer)]


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
def test_it_stands_where_the_tt_adapter_does_and_starts_as_nothing(model_type):
    ids = tokens()
    base = logits(tiny_classifier(model_type), ids)
    dense = get_peft_model(tiny_classifier(model_type), config())
    tt = get_peft_model(tiny_classifier(model_type), TTAdapterConfig(rank=2, bottleneck=8))
    assert places(dense, BottleneckAdapterLayer) == places(tt, TTAdapterLayer) != []
    assert torch.equal(logits(dense, ids), base)


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu", "tanh"])
def test_it_computes_the_formula(activation):
    torch.manual_seed(0)
    model = get_peft_model(
        tiny_classifier("bert"), config(activation=activation, scaling=0.7, init_weights=False)
    )
    layer = model.get_submodule(places(model, BottleneckAdapterLayer)[1])
    down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
    for bias in (down.bias, up.bias):
        nn.init.normal_(bias)
    x = torch.randn(2, 3, layer.base_layer.in_features)
    h = layer.base_layer(x)
    function = {"tanh": torch.tanh}.get(activation) or getattr(functional, activation)
    inner = function(h @ down.weight.T + down.bias)
    torch.testing.assert_close(layer(x), h + 0.7 * (inner @ up.weight.T + up.bias))


def test_down_starts_with_the_tt_adapters_spread_and_up_at_zero():
    torch.manual_seed(0)
    layer = DenseLinear(256, 400, bias=True, zero=False)
    error = 256**-0.5 / math.sqrt(2 * layer.weight.numel())
    assert abs(layer.weight.std().item() - 256**-0.5) < 4 * error
    assert not layer.bias.any()
    assert not DenseLinear(4, 5, bias=False, zero=True).weight.any()


def test_biases_are_optional_and_counted_apart():
    # 4 adapters of HIDDEN x 8 and 8 x HIDDEN, 8 + HIDDEN biases
    with_biases = count_by_kind(get_peft_model(tiny_classifier("bert"), config()))
    without = count_by_kind(get_peft_model(tiny_classifier("bert"), config(bias=False)))
    assert with_biases == {**without, ParameterKind.BIASES: 4 * (8 + HIDDEN)}
    assert without[ParameterKind.ADAPTER] == 4 * 2 * HIDDEN * 8


def test_dropout_acts_in_training_only():
    model = get_peft_model(tiny_classifier("bert"), config(dropout=0.5, init_weights=False))
    layer = model.get_submodule(places(model, BottleneckAdapterLayer)[0])
    x = torch.randn(2, 3, HIDDEN)
    assert torch.equal(layer.eval()(x), layer(x))
    assert not torch.equal(layer.train()(x), layer(x))


def test_low_precision_inputs_keep_their_dtype_and_reach_float32_weights():
    layer = DenseLinear(6, 4, bias=True, zero=False)
    x = torch.randn(3, 6)
    low = layer(x.bfloat16())
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), layer(x), atol=0.05, rtol=0.05)
    low.float().sum().backward()
    assert layer.weight.grad.dtype == layer.bias.grad.dtype == torch.float32


def test_it_cannot_be_merged_and_says_what_to_do_instead():
    base = tiny_lm()
    model = get_peft_model(base, config(task_type="CAUSAL_LM"))
    with pytest.raises(ModelError, match="cannot be merged") as caught:
        model.merge_and_unload()
    assert "keep the adapter directory" in str(caught.value)
    assert model.unload() is base


def test_an_unknown_architecture_names_this_config():
    with pytest.raises(ModelError, match="does not know where this architecture") as caught:
        get_peft_model(nn.Sequential(nn.Linear(4, 4)), config(task_type=None))
    assert 'BottleneckAdapterConfig(target_modules=["...", "..."])' in str(caught.value)


def test_a_target_that_is_not_linear_is_refused_before_the_model_is_touched():
    base = tiny_lm()
    targets = ["o_proj", "norm"]
    with pytest.raises(ModelError, match="the output width of a targeted module is not known"):
        get_peft_model(base, config(target_modules=targets, task_type="CAUSAL_LM"))
    assert not places(base, BottleneckAdapterLayer)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"bottleneck": 0}, "expected: a positive integer"),
        ({"activation": "gelo"}, "where: BottleneckAdapterConfig.activation"),
        ({"dropout": -0.1}, "dropout is out of range"),
        ({"scaling": math.nan}, "expected: a finite number"),
        ({"bias": "none"}, "expected: True or False"),
    ],
)
def test_a_value_out_of_range_is_refused(values, text):
    with pytest.raises(ConfigError, match=text):
        BottleneckAdapterConfig(**values)


def test_it_survives_its_file(tmp_path):
    config(target_modules=("b", "a"), bias=False).save_pretrained(tmp_path)
    loaded = PeftConfig.from_pretrained(tmp_path)
    assert type(loaded) is BottleneckAdapterConfig
    assert (loaded.target_modules, loaded.bias) == (["a", "b"], False)
