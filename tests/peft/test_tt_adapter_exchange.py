import pytest
from peft import LoHaConfig, LoraConfig, get_peft_model
from tests.peft.tiny_architectures import BLOCKS, HIDDEN, PEFT_WARNING, tiny_classifier, tiny_lm

from fedtt.peft import ParameterKind, TTAdapterConfig, count_by_kind, exchanged_parameters

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


def test_kinds_follow_the_owner_not_the_name():
    model = get_peft_model(
        tiny_classifier("roberta"),
        TTAdapterConfig(
            rank=2,
            bottleneck=8,
            bias=True,
            tensorize_classifier=True,
            task_type="SEQ_CLS",
            modules_to_save=["layer.1.output.LayerNorm"],
        ),
        adapter_name="lora_core_head",
    )
    kinds = exchanged_parameters(model)
    assert list(kinds) == sorted(kinds)
    assert set(kinds) == {n for n, p in model.named_parameters() if p.requires_grad}
    found = {}
    for name, kind in kinds.items():
        found.setdefault(kind, set()).add(name.rpartition(".")[2].rstrip("0123456789"))
    assert found == {
        ParameterKind.CORES: {"core_"},
        ParameterKind.BIASES: {"bias"},
        ParameterKind.HEAD: {"weight", "bias"},
    }
    # A norm trained whole is part of the head (modules_to_save): 1 x 2 x HIDDEN.
    assert count_by_kind(model)[ParameterKind.HEAD] == 2 * HIDDEN + 2 + 2 * HIDDEN


def test_norms_that_are_unfrozen_are_norms():
    for model_type in ("bert", "llama"):
        model = get_peft_model(tiny_lm(model_type), TTAdapterConfig(rank=2, bottleneck=8))
        norms = [n for n, _ in model.named_parameters() if "norm" in n.lower()]
        for name in norms:
            model.get_parameter(name).requires_grad = True
        kinds = exchanged_parameters(model)
        assert {n for n, k in kinds.items() if k is ParameterKind.NORMS} == set(norms)


def test_lora_its_head_and_an_unfrozen_base_weight():
    config = LoraConfig(r=4, target_modules=["query"], task_type="SEQ_CLS")
    model = get_peft_model(tiny_classifier("bert"), config)
    assert count_by_kind(model) == {
        ParameterKind.HEAD: 2 * HIDDEN + 2,
        ParameterKind.LORA: BLOCKS * 2 * 4 * HIDDEN,
    }
    name = "base_model.model.bert.encoder.layer.0.attention.self.query.base_layer.weight"
    model.get_parameter(name).requires_grad = True
    assert exchanged_parameters(model)[name] is ParameterKind.OTHER


def test_tuners_that_have_no_kind_of_their_own_are_other():
    model = get_peft_model(tiny_classifier("bert"), LoHaConfig(target_modules=["query"], r=2))
    assert set(exchanged_parameters(model).values()) == {ParameterKind.OTHER}


def test_biases_alone_are_biases_beside_their_weights_they_are_not():
    model = get_peft_model(tiny_classifier("bert"), LoHaConfig(target_modules=["query"], r=2))
    norm = "base_model.model.bert.embeddings.LayerNorm."
    model.get_parameter(f"{norm}bias").requires_grad = True
    assert exchanged_parameters(model)[f"{norm}bias"] is ParameterKind.BIASES
    model.get_parameter(f"{norm}weight").requires_grad = True
    assert exchanged_parameters(model)[f"{norm}bias"] is ParameterKind.NORMS


def test_a_frozen_core_is_not_exchanged():
    model = get_peft_model(tiny_lm(), TTAdapterConfig(rank=2, bottleneck=8))
    name, *others = exchanged_parameters(model)
    model.get_parameter(name).requires_grad = False
    assert list(exchanged_parameters(model)) == others
