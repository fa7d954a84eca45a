"""Published geometries at full size, on the meta device: base models, and what is exchanged."""

from dataclasses import dataclass

import pytest
import torch
from tests.peft.tiny_architectures import PEFT_WARNING
from transformers import (
    BertConfig,
    DebertaConfig,
    DebertaV2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    RobertaConfig,
)

from fedtt.config import parse_method
from fedtt.engine.build_method import build_method
from fedtt.engine.cost import exchanged_kinds, put_into
from fedtt.engine.run_cost import LocalStep, count_base, count_cost
from fedtt.models import build_empty_model, guess_task
from fedtt.peft import sum_by_kind

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


def encoder(blocks: int, hidden: int, *, tables: int) -> int:
    """``tables`` rows of embeddings and their norm; a block has four square layers and an MLP of
    four times the width, all with biases, and two norms."""
    block = 4 * (hidden**2 + hidden) + 2 * 4 * hidden**2 + 4 * hidden + hidden + 2 * 2 * hidden
    return (tables * hidden + 2 * hidden) + blocks * block


def decoder(blocks: int, hidden: int, *, mlp: int, kv: int, words: int, qkv_bias: int = 0) -> int:
    """Embeddings and an untied head; a block has q and o, k and v, a gated MLP and two norms."""
    block = 2 * hidden**2 + 2 * hidden * kv + 3 * hidden * mlp + 2 * hidden
    return 2 * words * hidden + blocks * (block + qkv_bias) + hidden


@dataclass(frozen=True, kw_only=True)
class Golden:
    config: PretrainedConfig
    base: int  # published
    base_sum: int  # its arithmetic
    cores: int
    biases: int
    lora: int
    head: int = 0


HEAD_768 = 768 * 2 + 2
ROBERTA_SHAPE = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
DEBERTA_SHAPE = {
    "relative_attention": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
    "max_relative_positions": -1,
}
LLAMA_SHAPE = {"architectures": ["LlamaForCausalLM"]}
# 512 relative positions x 768 and their norm, between all blocks
DEBERTA_POSITIONS = 512 * 768 + 2 * 768
POOLER_768 = 768**2 + 768
# rank 5: 780 = 40 + 200 + 300 + 200 + 40 over [8, 8, 12 | 8, 8]
CORES_768 = 12 * 2 * 2 * 780
BIASES_768 = 12 * 2 * (64 + 768)
LORA_768 = 12 * 2 * 8 * (768 + 768)
# 1100 = 80 + 400 + 400 + 100 + 100 + 20 over [16, 16, 16 | 4, 4, 4]
CORES_4096 = 32 * 2 * 2 * 1100
BIASES_4096 = 32 * 2 * (64 + 4096)
# q: 4096 x 4096; v: 4096 x 1024, eight heads of 128
LORA_4096_GQA = 32 * 8 * ((4096 + 4096) + (4096 + 1024))

GOLDENS = {
    "bert-base": Golden(
        config=BertConfig(),
        base=109_483_778,  # 109,482,240, and a head for two classes
        base_sum=encoder(12, 768, tables=30522 + 512 + 2) + POOLER_768 + HEAD_768,
        cores=CORES_768,
        biases=BIASES_768,
        lora=LORA_768,
        head=HEAD_768,
    ),
    "roberta-base": Golden(
        config=RobertaConfig(**ROBERTA_SHAPE),
        base=124_647_170,
        base_sum=encoder(12, 768, tables=50265 + 514 + 1) + POOLER_768 + HEAD_768,
        cores=CORES_768,
        biases=BIASES_768,
        lora=LORA_768,
        head=POOLER_768 + HEAD_768,  # its head has a dense layer, which PEFT trains whole
    ),
    "roberta-large": Golden(
        config=RobertaConfig(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
            **ROBERTA_SHAPE,
        ),
        base=355_361_794,
        base_sum=encoder(24, 1024, tables=50265 + 514 + 1) + (1024**2 + 1024) + (2 * 1024 + 2),
        # 760 = 20 + 100 + 200 + 200 + 200 + 40 over [4, 4, 8, 8 | 8, 8]
        cores=24 * 2 * 2 * 760,
        biases=24 * 2 * (64 + 1024),
        lora=24 * 2 * 8 * (1024 + 1024),
        head=(1024**2 + 1024) + (2 * 1024 + 2),
    ),
    "deberta-base": Golden(
        config=DebertaConfig(vocab_size=50265, pos_att_type=["c2p", "p2c"], **DEBERTA_SHAPE),
        base=139_193_858,
        # 1024 relative positions, and in every block two more square layers for them. Four biases
        # a block as everywhere: of q, v, the positions' query and the output.
        base_sum=encoder(12, 768, tables=50265 + 1024) + 12 * 2 * 768**2 + POOLER_768 + HEAD_768,
        cores=CORES_768,
        biases=BIASES_768,
        lora=12 * 8 * (768 + 3 * 768),  # on that one layer
        head=HEAD_768,
    ),
    "deberta-v3-base": Golden(
        config=DebertaV2Config(
            vocab_size=128100,
            pos_att_type=["p2c", "c2p"],
            position_buckets=256,
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            hidden_size=768,
            num_hidden_layers=12,
            num_attention_heads=12,
            intermediate_size=3072,
            **DEBERTA_SHAPE,
        ),
        base=184_423_682,
        base_sum=encoder(12, 768, tables=128100) + DEBERTA_POSITIONS + POOLER_768 + HEAD_768,
        cores=CORES_768,
        biases=BIASES_768,
        lora=LORA_768,
        head=HEAD_768,
    ),
    "llama-2-7b": Golden(
        config=LlamaConfig(hidden_size=4096, intermediate_size=11008, **LLAMA_SHAPE),
        base=6_738_415_616,
        base_sum=decoder(32, 4096, mlp=11008, kv=4096, words=32000),
        cores=CORES_4096,
        biases=BIASES_4096,
        lora=32 * 2 * 8 * (4096 + 4096),
    ),
    "llama-2-13b": Golden(
        config=LlamaConfig(
            hidden_size=5120,
            num_hidden_layers=40,
            num_attention_heads=40,
            intermediate_size=13824,
            **LLAMA_SHAPE,
        ),
        base=13_015_864_320,
        base_sum=decoder(40, 5120, mlp=13824, kv=5120, words=32000),
        # 1065 = 25 + 200 + 200 + 400 + 200 + 40 over [5, 8, 8, 16 | 8, 8]
        cores=40 * 2 * 2 * 1065,
        biases=40 * 2 * (64 + 5120),
        lora=40 * 2 * 8 * (5120 + 5120),
    ),
    "llama-3-8b": Golden(
        config=LlamaConfig(
            vocab_size=128256,
            hidden_size=4096,
            intermediate_size=14336,
            num_key_value_heads=8,
            **LLAMA_SHAPE,
        ),
        base=8_030_261_248,
        base_sum=decoder(32, 4096, mlp=14336, kv=1024, words=128256),
        cores=CORES_4096,
        biases=BIASES_4096,
        lora=LORA_4096_GQA,
    ),
    "mistral-7b": Golden(
        config=MistralConfig(architectures=["MistralForCausalLM"]),
        base=7_241_732_096,
        base_sum=decoder(32, 4096, mlp=14336, kv=1024, words=32000),
        cores=CORES_4096,
        biases=BIASES_4096,
        lora=LORA_4096_GQA,
    ),
    "qwen2.5-7b": Golden(
        config=Qwen2Config(
            vocab_size=152064,
            hidden_size=3584,
            intermediate_size=18944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            architectures=["Qwen2ForCausalLM"],
        ),
        base=7_615_616_512,
        # q, k and v have biases
        base_sum=decoder(28, 3584, mlp=18944, kv=512, words=152064, qkv_bias=3584 + 2 * 512),
        # 855 = 40 + 200 + 200 + 175 + 200 + 40 over [8, 8, 8, 7 | 8, 8]
        cores=28 * 2 * 2 * 855,
        biases=28 * 2 * (64 + 3584),
        lora=28 * 8 * ((3584 + 3584) + (3584 + 512)),
    ),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_base_models_and_messages(name: str) -> None:
    golden = GOLDENS[name]
    task = guess_task(golden.config)
    head = {"head": golden.head} if golden.head else {}
    expected = {
        ("fedtt", "bias=true"): {"cores": golden.cores, "biases": golden.biases, **head},
        ("lora", "rank=8"): {"lora": golden.lora, **head},
    }
    assert golden.base_sum == golden.base
    for (method_name, override), counts in expected.items():
        method = build_method(parse_method(method_name, overrides=[override]), task=task)
        base = build_empty_model(golden.config, task=task)
        assert sum(parameter.numel() for parameter in base.parameters()) == golden.base
        model = put_into(base, method)
        found = sum_by_kind(exchanged_kinds(model, method), dict(model.named_parameters()))
        assert {str(kind): count for kind, count in found.items()} == counts


def test_llama_2_7b_in_bfloat16() -> None:
    config = GOLDENS["llama-2-7b"].config
    base = count_base(config, task="causal", dtype=torch.bfloat16)
    # Two bytes a parameter; 64 rotary frequencies, twice, in float32.
    assert base.parameters == 6_738_415_616
    assert base.bytes == 2 * 6_738_415_616 + 2 * 64 * 4


def test_a_whole_run_on_two_blocks_of_bert_base() -> None:
    method = build_method(parse_method("fedtt", overrides=()), task="classification")
    step = LocalStep(batch_size=2, length=16, dtype=torch.float32)
    cost = count_cost(
        BertConfig(num_hidden_layers=2),
        method,
        task="classification",
        clients=100,
        rounds=50,
        step=step,
    )
    count = 2 * 2 * 2 * 780 + HEAD_768
    assert cost.message.total_parameters == cost.memory.trained_parameters == count
    assert cost.memory.trained_bytes == 16 * count
    # Everything trains in every round, so all rounds are alike: headers, and 4 bytes a number.
    numbers = 100 * 4 * count
    assert 0 < cost.traffic.first_broadcast_bytes < 100 * 300
    assert numbers < cost.traffic.round_downlink_bytes < cost.traffic.round_uplink_bytes
    assert cost.traffic.round_uplink_bytes < numbers + 100 * 400
    assert cost.traffic.uplink_bytes == 50 * cost.traffic.round_uplink_bytes
    assert cost.traffic.downlink_bytes == 49 * cost.traffic.round_downlink_bytes
