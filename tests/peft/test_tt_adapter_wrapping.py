import copy

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel, get_peft_model
from tests.peft.tiny_architectures import (
    HIDDEN,
    PEFT_WARNING,
    logits,
    tiny_classifier,
    tiny_lm,
    tokens,
    train,
)
from torch import nn

from fedtt.errors import ConfigError, ModelError, ShapeError
from fedtt.peft import (
    BottleneckAdapterConfig,
    TTAdapterConfig,
    TTAdapterLayer,
    TTDenseLayer,
    exchanged_parameters,
)
from fedtt.peft.added_layer import AddedLayer
from fedtt.tt import to_dense

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


def config(**overrides):
    values = {"rank": 2, "bottleneck": 8, "task_type": "CAUSAL_LM", "init_weights": False}
    return TTAdapterConfig(**{**values, **overrides})


def adapters(model):
    return [m for m in model.modules() if isinstance(m, TTAdapterLayer)]


def dense(layer):
    return to_dense(layer.cores, split=layer.shape.split)


# Several adapters


def test_adapters_are_added_switched_and_deleted():
    ids = tokens()
    base = logits(tiny_lm(), ids)
    torch.manual_seed(0)
    model = get_peft_model(tiny_lm(), config())
    first = logits(model, ids)
    model.add_adapter("second", config(rank=3, bottleneck=4, bias=True, activation="tanh"))
    assert torch.equal(logits(model, ids), first)
    assert all(".default." in name for name in exchanged_parameters(model))

    model.set_adapter("second")
    second = logits(model, ids)
    assert not torch.allclose(second, first)
    assert all(".second." in name for name in exchanged_parameters(model))
    with model.disable_adapter():
        assert torch.equal(logits(model, ids), base)
    assert torch.equal(logits(model, ids), second)

    model.set_adapter("default")
    assert torch.equal(logits(model, ids), first)
    model.delete_adapter("second")
    assert torch.equal(logits(model, ids), first)
    assert not [n for n, _ in model.named_parameters() if ".second." in n]
    assert all(list(a.adapter_settings) == ["default"] for a in adapters(model))


def test_active_adapters_apply_one_after_another_in_their_order():
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(10, 12))
    model = get_peft_model(base, config(target_modules=["0"], task_type=None))
    model.add_adapter("b", config(target_modules=["0"], task_type=None, scaling=2.0))
    layer, x = model.base_model.model[0], torch.randn(5, 10)

    def alone(name, h):
        inner = torch.nn.functional.gelu(layer.tt_adapter_down[name](h))
        return h + (2.0 if name == "b" else 1.0) * layer.tt_adapter_up[name](inner)

    h = layer.base_layer(x)
    for order in (["default", "b"], ["b", "default"]):
        model.base_model.set_adapter(order)
        expected = alone(order[1], alone(order[0], h))
        torch.testing.assert_close(model(x), expected)
    assert not torch.allclose(alone("b", alone("default", h)), alone("default", alone("b", h)))


def test_adapters_of_one_model_must_agree_on_the_classifier():
    options = config(task_type="SEQ_CLS")
    model = get_peft_model(tiny_classifier("roberta"), options)
    with pytest.raises(ConfigError, match="must agree on the classifier") as caught:
        model.add_adapter("second", config(task_type="SEQ_CLS", tensorize_classifier=True))
    assert "load the adapters into two copies" in str(caught.value)
    assert list(model.peft_config) == ["default"]


@pytest.mark.parametrize("model_type", ["distilbert", "roberta", "bert"])
def test_two_adapters_with_a_tensorized_classifier_have_a_head_each(model_type, tmp_path):
    ids, labels = tokens(), torch.tensor([0, 1, 1, 0])
    options = {"task_type": "SEQ_CLS", "tensorize_classifier": True}
    model = get_peft_model(tiny_classifier(model_type), config(**options))
    model.add_adapter("second", config(rank=3, **options))
    first = logits(model, ids)
    model.set_adapter("second")
    kinds = exchanged_parameters(model)
    assert {kind.value for kind in kinds.values()} == {"cores", "biases", "head"}
    assert all(".second." in name for name in kinds)
    train(model, ids, labels, steps=2)
    second = logits(model, ids)
    model.save_pretrained(tmp_path)
    model.set_adapter("default")
    assert torch.equal(logits(model, ids), first)
    loaded = PeftModel.from_pretrained(tiny_classifier(model_type), tmp_path)
    assert torch.equal(logits(loaded, ids), first)
    loaded.load_adapter(tmp_path / "second", "second")
    loaded.set_adapter("second")
    assert torch.equal(logits(loaded, ids), second)


def test_an_added_adapter_that_brings_a_head_leaves_the_model_as_it_was():
    ids = tokens()
    options = {"task_type": None, "tensorize_classifier": True}
    model = get_peft_model(tiny_classifier("roberta"), config(**options))
    before, kinds = logits(model, ids), exchanged_parameters(model)
    model.add_adapter("second", config(modules_to_save=["classifier"], **options))
    assert torch.equal(logits(model, ids), before)
    assert exchanged_parameters(model) == kinds
    model.set_adapter("second")
    heads = {name for name, kind in exchanged_parameters(model).items() if kind == "head"}
    root = "base_model.model.classifier.out_proj.modules_to_save.second"
    assert heads == {f"{root}.weight", f"{root}.bias"}


def test_of_several_tensorized_classifiers_the_first_active_one_is_used():
    options = {"task_type": None, "tensorize_classifier": True}
    model = get_peft_model(tiny_classifier("roberta"), config(**options))
    model.add_adapter("second", config(**options))
    layer = next(m for m in model.modules() if isinstance(m, TTDenseLayer))
    x = torch.randn(3, HIDDEN)
    for order in (["default", "second"], ["second", "default"]):
        model.base_model.set_adapter(order)
        assert torch.equal(layer(x), layer.tt_adapter_dense[order[0]](x))
    assert not torch.equal(layer(x), layer.base_layer(x))


def test_an_adapter_on_layers_of_its_own_is_trained_once_it_is_active():
    base = nn.Sequential(nn.Linear(10, 12), nn.Linear(12, 12))
    model = get_peft_model(base, config(target_modules=["0"], task_type=None))
    model.add_adapter("second", config(target_modules=["1"], task_type=None))
    assert all(".0.tt_adapter" in name for name in exchanged_parameters(model))
    model.set_adapter("second")
    assert all(".1.tt_adapter" in name for name in exchanged_parameters(model))
    assert exchanged_parameters(model)


def test_a_given_dense_layer_and_rank_are_used():
    options = config(
        rank=(1, 2, 2, 2, 1),
        in_modes=(6, 4),
        out_modes=(2, 4),
        classifier_rank=3,
        tensorize_classifier=True,
        classifier_dense="pooler.dense",
        task_type="SEQ_CLS",
    )
    model = get_peft_model(tiny_classifier("bert"), options)
    layer = next(m for m in model.modules() if isinstance(m, TTDenseLayer))
    shape = layer.tt_adapter_dense["default"].shape
    assert (shape.in_features, shape.out_features) == (HIDDEN, HIDDEN)
    assert set(shape.ranks[1:-1]) == {3}
    assert options.classifier_dense == "bert.pooler.dense"


# Merging


@pytest.mark.parametrize("attempt", ["merge_and_unload", "merge_adapter"])
def test_merging_is_refused_with_the_reason_and_the_way_out(attempt):
    model = get_peft_model(tiny_lm(), config())
    ids = tokens()
    before = logits(model, ids)
    with pytest.raises(ModelError, match="cannot be merged into the base weights") as caught:
        getattr(model, attempt)()
    assert "not linear in h" in str(caught.value)
    assert "keep the adapter directory (save_pretrained)" in str(caught.value)
    assert "unload() gives the base model back" in str(caught.value)
    assert torch.equal(logits(model, ids), before)
    with pytest.raises(ModelError, match="not linear in h"):
        adapters(model)[0].merge()
    model.unmerge_adapter()


def test_unload_gives_the_base_model_back():
    ids = tokens()
    model = get_peft_model(tiny_lm(), config())
    base = model.unload()
    assert torch.equal(logits(base, ids), logits(tiny_lm(), ids))
    assert not adapters(base)


# Types, devices, wrapping


def test_a_bfloat16_base_has_float32_cores_and_bfloat16_outputs(tmp_path):
    ids = tokens()
    torch.manual_seed(0)
    model = get_peft_model(tiny_lm().to(torch.bfloat16), config(bias=True))
    assert {model.get_parameter(n).dtype for n in exchanged_parameters(model)} == {torch.float32}
    # Not float32 numbers that were bfloat16 ones in between.
    core = adapters(model)[0].tt_adapter_down["default"].core_0
    assert not torch.equal(core, core.bfloat16().float())
    trained = logits(model, ids)
    assert trained.dtype == torch.bfloat16
    train(model, ids, ids, steps=1)
    model.save_pretrained(tmp_path)
    for low in (False, True):
        loaded = PeftModel.from_pretrained(
            tiny_lm().to(torch.bfloat16), tmp_path, low_cpu_mem_usage=low
        )
        for name in exchanged_parameters(model):
            assert torch.equal(loaded.get_parameter(name), model.get_parameter(name))


def test_without_autocast_the_adapter_has_the_base_dtype():
    base = tiny_lm().to(torch.bfloat16)
    model = get_peft_model(base, config(bias=True), autocast_adapter_dtype=False)
    assert {model.get_parameter(n).dtype for n in exchanged_parameters(model)} == {torch.bfloat16}
    assert logits(model, tokens()).dtype == torch.bfloat16


def test_a_half_precision_adapter_can_be_cast_up():
    model = get_peft_model(tiny_lm(), config(bias=True))
    for layer in adapters(model):
        layer.tt_adapter_down.half()
    model.base_model._cast_adapter_dtype("default", autocast_adapter_dtype=True)
    assert {model.get_parameter(n).dtype for n in exchanged_parameters(model)} == {torch.float32}


def test_under_autocast_the_output_has_the_dtype_of_the_base_output():
    base = nn.Sequential(nn.Linear(10, 12))
    model = get_peft_model(base, config(target_modules=["0"], task_type=None))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.randn(5, 10)).dtype == torch.bfloat16


def test_the_seed_of_the_caller_decides_the_start():
    def cores(seed):
        base = tiny_lm()
        torch.manual_seed(seed)
        model = get_peft_model(base, config(init_weights=True))
        return [model.get_parameter(n) for n in exchanged_parameters(model)]

    same = zip(cores(1), cores(1), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not all(torch.equal(a, b) for a, b in zip(cores(1), cores(2), strict=True))


class QuantizedLinear(nn.Module):
    """As GPTQ's: no nn.Linear, no float weight, widths under other names."""

    def __init__(self, infeatures, outfeatures):
        super().__init__()
        self.infeatures, self.outfeatures = infeatures, outfeatures
        codes = torch.randint(-8, 8, (outfeatures, infeatures), dtype=torch.int8)
        self.register_buffer("qweight", codes)

    def forward(self, x):
        return x @ self.qweight.T.to(x.dtype)


def test_any_layer_with_a_known_output_width_can_be_adapted():
    torch.manual_seed(0)
    base = nn.Sequential(QuantizedLinear(10, 12))
    options = config(target_modules=["0"], task_type=None)
    model = get_peft_model(base, options, autocast_adapter_dtype=False)
    (layer,) = adapters(model)
    assert layer.tt_adapter_up["default"].shape.out_features == 12
    assert layer.tt_adapter_up["default"].core_0.dtype == torch.float32
    x = torch.randn(3, 10)
    output = model(x)
    with model.disable_adapter():
        assert not torch.equal(model(x), output)


class PackedLinear(nn.Module):
    """As HQQ's: the weight goes by another name."""

    in_features = out_features = 8

    def __init__(self):
        super().__init__()
        self.W_q = nn.Parameter(torch.zeros(8, 8, device="meta"), requires_grad=False)


def test_adapters_go_where_the_base_layer_is_whatever_its_weight_is_called():
    options = config(target_modules=["0"], task_type=None)
    model = get_peft_model(nn.Sequential(PackedLinear()), options)
    assert all(model.get_parameter(name).is_meta for name in exchanged_parameters(model))


def test_a_layer_without_a_known_width_is_refused():
    base = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    with pytest.raises(ModelError, match="the output width of a targeted module is not known") as e:
        get_peft_model(base, config(target_modules=["1"], task_type=None))
    assert "where: 1" in str(e.value)
    assert "got: LayerNorm" in str(e.value)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"in_modes": (5, 5)}, "5 x 5 = 25"),
        ({"out_modes": (3, 3)}, "3 x 3 = 9"),
        ({"rank": 9}, "TT rank 9"),
        ({"rank": (1, 2, 1)}, "TT ranks"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_before_the_model_is_touched(values, text):
    base = tiny_lm()
    with pytest.raises(ShapeError, match=text):
        get_peft_model(base, config(**values))
    assert not adapters(base)


def test_a_wrapped_model_can_be_copied():
    model = get_peft_model(tiny_lm(), config())
    twin, ids = copy.deepcopy(model), tokens()
    assert torch.equal(logits(twin, ids), logits(model, ids))


class Doubling(nn.Module):
    """Not lowered by autocast."""

    in_features = out_features = 8

    def forward(self, x):
        return 2 * x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_an_output_it_does_not_lower_keeps_its_dtype(dtype):
    base = nn.Sequential(Doubling(), nn.Linear(8, 8))
    model = get_peft_model(base, config(target_modules=["0"], task_type=None, bias=True))
    with torch.autocast("cpu", dtype=torch.float16):
        assert model.base_model.model[0](torch.randn(5, 8).to(dtype)).dtype == dtype


# The libraries around it


def test_peft_reports_the_adapters_state():
    model = get_peft_model(tiny_lm(), config())
    status = model.get_model_status()
    assert (status.peft_types, status.active_adapters) == ({"default": "TT_ADAPTER"}, ["default"])
    assert status.num_adapter_layers == 4
    assert status.trainable_params == sum(
        model.get_parameter(name).numel() for name in exchanged_parameters(model)
    )


def test_the_auto_class_finds_base_and_adapter(tmp_path):
    base = tiny_lm()
    base.save_pretrained(tmp_path / "base")
    base.config._name_or_path = str(tmp_path / "base")
    base.name_or_path = str(tmp_path / "base")
    model = get_peft_model(base, config())
    model.save_pretrained(tmp_path / "adapter")
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert torch.equal(logits(loaded, tokens()), logits(model, tokens()))


def test_transformers_own_adapter_methods_work(tmp_path):
    ids = tokens()
    model = tiny_lm()
    base = logits(model, ids)
    model.add_adapter(config())
    adapted = logits(model, ids)
    assert not torch.allclose(adapted, base)
    model.disable_adapters()
    assert torch.equal(logits(model, ids), base)
    model.enable_adapters()
    model.save_pretrained(tmp_path)
    loaded = tiny_lm()
    loaded.load_adapter(tmp_path)
    torch.testing.assert_close(logits(loaded, ids), adapted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("config_class", [TTAdapterConfig, BottleneckAdapterConfig])
def test_a_layer_that_two_blocks_share_is_refused(config_class):
    model = tiny_classifier("bert")
    first, second = model.bert.encoder.layer
    second.output.dense = first.output.dense
    targets = ["output.dense"]
    with pytest.raises(ModelError, match="several modules share a layer") as caught:
        get_peft_model(model, config_class(bottleneck=8, target_modules=targets))
    names = [f"bert.encoder.layer.{index}.output.dense" for index in (0, 1)]
    assert f"where: {', '.join(names)}" in str(caught.value)
    assert not [module for module in model.modules() if isinstance(module, AddedLayer)]


def test_a_block_that_is_used_twice_is_adapted_in_both_places():
    model = tiny_classifier("bert")
    model.bert.encoder.layer[1] = model.bert.encoder.layer[0]
    config = TTAdapterConfig(rank=2, bottleneck=8, target_modules=["output.dense"])
    adapted = get_peft_model(model, config)
    layers = adapted.base_model.model.bert.encoder.layer
    assert layers[0] is layers[1]
    assert isinstance(layers[1].output.dense, AddedLayer)
