"""Golden message sizes at full model size, on the meta device."""

import pytest
from transformers import BertConfig, LlamaConfig, PretrainedConfig

from fedtt.config import parse_method
from fedtt.engine.build_method import build_method
from fedtt.engine.cost import MessageCost, count_message

BERT_BASE = BertConfig()
LLAMA_7B = LlamaConfig(
    hidden_size=4096, num_hidden_layers=32, intermediate_size=11008, num_attention_heads=32
)


def cost(config: PretrainedConfig, method: str, *, task: str, overrides: tuple = ()) -> MessageCost:
    section = parse_method(method, overrides=overrides)
    return count_message(config, build_method(section, task=task), task=task)


def test_fedtt_on_bert_base() -> None:
    # 12 blocks x 2 adapters x 2 TT x 780; 780 = 40 + 200 + 300 + 200 + 40; head 768 * 2 + 2.
    counts = cost(BERT_BASE, "fedtt", task="classification").exchanged_parameters
    assert counts == {"cores": 37_440, "head": 1_538}


def test_fedtt_on_llama_7b_sends_a_thirtieth_of_lora() -> None:
    # 32 x 2 x 2 x 1100; 1100 = 80 + 400 + 400 + 100 + 100 + 20 over [16, 16, 16 | 4, 4, 4].
    fedtt = cost(LLAMA_7B, "fedtt", task="causal")
    lora = cost(LLAMA_7B, "lora", task="causal")
    assert fedtt.exchanged_parameters == {"cores": 140_800}
    assert lora.exchanged_parameters == {"lora": 4_194_304}  # 32 x 2 x 8 x (4096 + 4096)
    assert fedtt.uplink_bytes == pytest.approx(4 * 140_800, abs=400)
    assert lora.uplink_bytes / fedtt.uplink_bytes == pytest.approx(29.8, abs=0.1)


def test_biases_are_most_of_the_llama_message_and_are_counted() -> None:
    counts = cost(LLAMA_7B, "fedtt", task="causal", overrides=("bias=true",)).exchanged_parameters
    assert counts == {"cores": 140_800, "biases": 64 * (64 + 4096)}
    assert sum(counts.values()) == 407_040


def test_the_payload_is_what_four_bytes_a_parameter_cost_and_little_more() -> None:
    message = cost(BERT_BASE, "fedtt", task="classification")
    numbers = 4 * message.total_parameters
    assert numbers < message.downlink_bytes < message.uplink_bytes < numbers + 400


def test_a_cycle_sends_one_core_a_layer_and_the_head() -> None:
    # One round in five trains each core: 37,440 / 5 cores a round on average, plus the head.
    cycle = cost(BERT_BASE, "fedtt+", task="classification", overrides=("schedule=cycle",))
    numbers = 4 * (37_440 / 5 + 1_538)
    assert numbers < cycle.uplink_bytes < numbers + 400
    assert numbers < cycle.downlink_bytes < numbers + 500  # only what the last round changed
    assert cycle.first_downlink_bytes < 300  # what a run begins with, both ends draw


def test_ffa_and_rolora_send_half_of_lora() -> None:
    head = 1_538
    for method in ("ffa-lora", "rolora"):
        half = cost(BERT_BASE, method, task="classification")
        assert half.uplink_bytes == pytest.approx(4 * (294_912 / 2 + head), abs=500)
    ffa = cost(BERT_BASE, "ffa-lora", task="classification")
    assert ffa.exchanged_parameters == {"lora": 294_912 // 2, "head": head}


def test_fedex_lora_sends_back_the_factors_of_every_client() -> None:
    # Four clients: left 768 x 40 and right 40 x 768 for query and value of twelve layers.
    fedex = cost(BERT_BASE, "fedex-lora", task="classification")
    lora = cost(BERT_BASE, "lora", task="classification")
    assert fedex.uplink_bytes == pytest.approx(lora.uplink_bytes, abs=200)
    residual = 4 * 24 * 2 * 768 * 40
    assert fedex.downlink_bytes == pytest.approx(lora.downlink_bytes + residual, abs=500)
    assert fedex.first_downlink_bytes == pytest.approx(lora.first_downlink_bytes, abs=200)
