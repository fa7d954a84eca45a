"""How many tokens go through a model at once, and what a forward costs beside them."""

import os
from pathlib import Path

import torch
from torch import nn
from transformers import PretrainedConfig

# A forward that keeps what its backward needs holds about 34 numbers a token, layer and unit of
# width (Korthikanti et al. 2022, arXiv 2205.05198, without the attention matrix, which sdpa does
# not keep). The frozen layers here keep less.
NUMBERS_KEPT = 34
LOGITS_KEPT = 4  # as they are, in float32, as log probabilities, and their gradient
SHARE_OF_MEMORY = 1 / 8
# Beyond these nothing gets faster: caches are full (CPU), or the device is busy (GPU).
MOST_TOKENS = {"cpu": 4096}
MOST_TOKENS_ELSEWHERE = 65_536
FEWEST_TOKENS = 256
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def auto_max_tokens(model: nn.Module, *, model_class: str) -> int:
    """The budget of tokens that fits an eighth of the device's memory, within bounds.

    All of the memory counts, not what is free at the moment. ``model_class`` is a key of
    ``models.TASK_CLASSES``: a causal model may need the logits of its vocabulary at every token.
    """
    weight = next(model.parameters())
    return tokens_that_fit(
        model.config, device=weight.device, dtype=weight.dtype, model_class=model_class
    )


def tokens_that_fit(
    config: PretrainedConfig, *, device: torch.device, dtype: torch.dtype, model_class: str
) -> int:
    """As :func:`auto_max_tokens`, of a model that is not loaded yet."""
    layers = int(getattr(config, "num_hidden_layers", 1))
    width = int(getattr(config, "hidden_size", 1))
    outputs = config.get_text_config().vocab_size if model_class == "causal" else 0
    a_token = (NUMBERS_KEPT * layers * width + LOGITS_KEPT * outputs) * dtype.itemsize
    fits = int(memory_bytes(device) * SHARE_OF_MEMORY) // a_token
    most = MOST_TOKENS.get(device.type, MOST_TOKENS_ELSEWHERE)
    return max(FEWEST_TOKENS, min(most, fits))


def forward_worth(model: nn.Module) -> int:
    """Tokens that take as long as a forward and backward of their own do beside their tokens.

    On a CPU it was measured with MiniLM (width h = 384): 80 tokens, as a small batch costs calls
    and uses the processor badly. A token costs in proportion to h^2: 1.2e7 / h^2 tokens. Elsewhere
    calls cost more than any padding.
    """
    if next(model.parameters()).device.type != "cpu":
        return MOST_TOKENS_ELSEWHERE
    width = int(getattr(model.config, "hidden_size", 1))
    return int(1.2e7 / width**2)


def memory_bytes(device: torch.device) -> int:
    """All of the device's memory, in use or not; 8 GiB where it cannot be known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not a Unix
        installed = 8 * 2**30
    try:
        return min(installed, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no limit: no such file, or "max"
        return installed
