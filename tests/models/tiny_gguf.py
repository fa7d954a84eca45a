"""A tiny LLaMA as a GGUF file, written as llama.cpp's converter writes one."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

VOCABULARY = ["<unk>", "<s>", "</s>", "Ġ", *"abcdefghijklmnopqr", "Ġa", "ab"]
SIZES = {"hidden_size": 32, "head_dim": 16, "intermediate_size": 64, "vocab_size": len(VOCABULARY)}
_OUTER = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_INNER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_tiny_gguf(path: Path, model: nn.Module, *, kind: str) -> Path:
    """The tiny LLaMA ``model`` of the sizes above, its matrices rounded to ``kind`` (F32, Q4_1)."""
    import gguf

    config: Any = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([3, 3, 3] + [1] * (len(VOCABULARY) - 3))  # 3: control
    writer.add_token_merges(["Ġ a", "a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    stored = gguf.GGMLQuantizationType[kind]
    for name, tensor in model.state_dict().items():
        values = np.ascontiguousarray(_llama_cpp_order(name, tensor.numpy(), config))
        if values.ndim == 2:
            packed = gguf.quants.quantize(values, stored)
            writer.add_tensor(_gguf_name(name), packed, raw_dtype=stored)
        else:
            writer.add_tensor(_gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.weight"
    _, _, block, inner = stem.split(".", 3)
    return f"blk.{block}.{_INNER[inner]}.weight"


def _llama_cpp_order(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """llama.cpp turns pairs of neighbouring rows of a head, transformers its two halves."""
    heads = {
        "q_proj.weight": config.num_attention_heads,
        "k_proj.weight": config.num_key_value_heads,
    }.get(name.rpartition("self_attn.")[2])
    if heads is None:
        return values
    halves = values.reshape(heads, 2, len(values) // heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(values.shape)
