"""Random models of every architecture the TT adapter knows, small enough for any test."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

# PEFT 0.21 reads an attribute that transformers 5.23 renamed, on every get_peft_model.
PEFT_WARNING = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"

HIDDEN, BLOCKS, VOCABULARY = 24, 2, 64

# At the usual 0.02 a model this narrow passes on almost nothing of its input.
_SPREAD = {"initializer_range": 0.3}
_SHAPE = {"num_hidden_layers": BLOCKS, "num_attention_heads": 2, "intermediate_size": 40}
_ENCODER = {
    "hidden_size": HIDDEN,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    **_SHAPE,
    **_SPREAD,
}
_DECODER = {
    **_ENCODER,
    "num_key_value_heads": 1,
    "head_dim": 12,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SPECIAL_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_VISION = {"hidden_size": 16, "image_size": 28, "patch_size": 14, **_SHAPE}

CONFIGS: dict[str, dict[str, Any]] = {
    "albert": {**_ENCODER, "embedding_size": 8},
    "bert": _ENCODER,
    "camembert": _ENCODER,
    "deberta": {**_ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {**_ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "distilbert": {
        "dim": HIDDEN,
        "n_layers": BLOCKS,
        "n_heads": 2,
        "hidden_dim": 40,
        "pad_token_id": 0,
        **_SPREAD,
    },
    "electra": {**_ENCODER, "embedding_size": 8},
    "gemma": _DECODER,
    "gemma2": _DECODER,
    "gemma3": {"text_config": {**_DECODER, "vocab_size": VOCABULARY}, "vision_config": _VISION},
    "gemma3_text": _DECODER,
    "gpt2": {"n_embd": HIDDEN, "n_layer": BLOCKS, "n_head": 2, **_SPECIAL_TOKENS, **_SPREAD},
    "gpt_neox": {**_ENCODER, "bos_token_id": 1, "eos_token_id": 2},
    "llama": _DECODER,
    "mistral": _DECODER,
    "mpnet": {**_ENCODER, "pad_token_id": 1},
    "opt": {**_ENCODER, "ffn_dim": 40, "word_embed_proj_dim": 8, "init_std": 0.3},
    "phi3": _DECODER,
    "qwen2": _DECODER,
    "qwen3": _DECODER,
    "roberta": _ENCODER,
    "xlm-roberta": _ENCODER,
}


def tiny_config(model_type: str, **overrides: Any) -> Any:
    """Config of a tiny model; two labels."""
    values = {"vocab_size": VOCABULARY, **CONFIGS[model_type], **overrides}
    if model_type == "gemma3":
        del values["vocab_size"]
    return AutoConfig.for_model(model_type, **values)


def tiny_classifier(model_type: str, *, seed: int = 0, **overrides: Any) -> nn.Module:
    """Sequence classification model, in evaluation mode."""
    torch.manual_seed(seed)
    config = tiny_config(model_type, **overrides)
    return AutoModelForSequenceClassification.from_config(config).eval()


def tiny_lm(model_type: str = "llama", *, seed: int = 0, **overrides: Any) -> nn.Module:
    """Causal language model, in evaluation mode."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(tiny_config(model_type, **overrides)).eval()


def tokens(rows: int = 4, length: int = 7, *, seed: int = 1) -> Tensor:
    """Token ids without special tokens ``(rows, length)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (rows, length), generator=generator)


def logits(model: nn.Module, ids: Tensor) -> Tensor:
    """Logits in evaluation mode, without gradients."""
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def train(model: nn.Module, ids: Tensor, labels: Tensor, *, steps: int) -> None:
    """Plain gradient steps on the trainable parameters; changes ``model``."""
    model.train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    model.eval()
