"""The parameter counts of LoRETTA and of the dense biases, on models without weights."""

import pytest
import torch
from peft import get_peft_model
from tests.peft.tiny_architectures import PEFT_WARNING
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaConfig,
    LlamaConfig,
    RobertaConfig,
)

from fedtt.peft import ParameterKind, TTAdapterConfig, count_by_kind

pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning"),
]
CORES, BIASES, HEAD = ParameterKind.CORES, ParameterKind.BIASES, ParameterKind.HEAD


def counts(config, auto, **adapter):
    with torch.device("meta"):
        model = auto.from_config(config)
    model = get_peft_model(model, TTAdapterConfig(**adapter))
    assert all(p.is_meta for p in model.parameters())
    return count_by_kind(model)


def base(config_class, **values):
    return config_class(
        **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, **values}
    )


BASES = [base(BertConfig), base(RobertaConfig), base(DebertaConfig, num_attention_heads=8)]
LARGE = RobertaConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
LLAMA_7B = LlamaConfig(
    hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11008
)
LLAMA_13B = LlamaConfig(
    hidden_size=5120, num_hidden_layers=40, num_attention_heads=40, intermediate_size=13824
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # [8,8,12|8,8]: 780 = 1*8*5 + 5*8*5 + 5*12*5 + 5*8*5 + 5*8*1 = 40 + 200 + 300 + 200 + 40
        *((config, 12 * 2 * 2 * 780) for config in BASES),
        # [4,4,8,8|8,8]: 760 = 20 + 100 + 200 + 200 + 200 + 40
        (LARGE, 24 * 2 * 2 * 760),
        # [16,16,16|4,4,4]: 1100 = 80 + 400 + 400 + 100 + 100 + 20
        (LLAMA_7B, 32 * 2 * 2 * 1100),
        # [5,8,8,16|8,8]: 1065 = 25 + 200 + 200 + 400 + 200 + 40
        (LLAMA_13B, 40 * 2 * 2 * 1065),
    ],
    ids=["bert-base", "roberta-base", "deberta-base", "roberta-large", "llama-7b", "llama-13b"],
)
def test_cores_and_biases(config, expected):
    auto = (
        AutoModelForCausalLM if config.model_type == "llama" else AutoModelForSequenceClassification
    )
    assert counts(config, auto) == {CORES: expected}
    # 64 + hidden biases an adapter, two adapters a block
    biases = 2 * config.num_hidden_layers * (64 + config.hidden_size)
    assert counts(config, auto, bias=True) == {CORES: expected, BIASES: biases}


def test_the_published_totals():
    assert 12 * 2 * 2 * 780 == 37_440
    assert 37_440 + 2 * 12 * (64 + 768) == 57_408
    assert 24 * 2 * 2 * 760 == 72_960
    assert 32 * 2 * 2 * 1100 == 140_800
    assert 140_800 + 2 * 32 * (64 + 4096) == 407_040
    assert 40 * 2 * 2 * 1065 == 170_400
    assert 170_400 + 2 * 40 * (64 + 5120) == 585_120


@pytest.mark.parametrize("config", BASES, ids=["bert-base", "roberta-base", "deberta-base"])
def test_with_a_tensorized_classifier_and_two_labels(config):
    found = counts(
        config,
        AutoModelForSequenceClassification,
        bias=True,
        tensorize_classifier=True,
        task_type="SEQ_CLS",
    )
    # [12,8,8|8,8,12]: 920 = 60 + 200 + 200 + 200 + 200 + 60; the dense layer's bias has 768
    assert found == {
        CORES: 37_440 + 920,
        BIASES: 19_968 + 768,
        HEAD: 768 * 2 + 2,
    }
    assert sum(found.values()) == 60_634


def test_without_it_peft_trains_robertas_whole_head():
    found = counts(BASES[1], AutoModelForSequenceClassification, task_type="SEQ_CLS")
    assert found == {CORES: 37_440, HEAD: 768 * 768 + 768 + 768 * 2 + 2}
