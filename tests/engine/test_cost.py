"""Golden message sizes at full model size, on the meta device."""

import pytest
from transformers import BertConfig, LlamaConfig, PretrainedConfig

from fedtt.config import parse_method
from fedtt.engine.build import build_method
from fedtt.engine.cost import MessageCost, count_message

BERT_BASE = BertConfig()
LLAMA_7B = LlamaConfig(
    hidden_size=4096, num_hidden_layers=32, intermediate_size=11008, num_attention_heads=32
)


def cost(config: PretrainedConfig, method: str, *, task: str, overrides: tuple = ()) -> MessageCost:
    section = parse_method(method, overrides=overrides)
    return count_message(config, build_method(section, task=task).adapter, task=task)


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
