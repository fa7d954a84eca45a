"""Every adapter that a method can have, as a function from the task to a small config."""

from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from torch import Tensor, nn

from fedtt.peft import (
    BottleneckAdapterConfig,
    LoRAXSConfig,
    MetaTTConfig,
    TTAdapterConfig,
    adapt,
    bitfit_config,
    full_config,
    head_config,
    ia3_config,
    p_tuning_config,
    peft_config_from_table,
    prefix_config,
    prompt_config,
    vera_config,
)

CONFIGS: dict[str, Callable[[str], Any]] = {
    "tt": lambda task: TTAdapterConfig(task_type=task, rank=2, bottleneck=8),
    "lora": lambda task: LoraConfig(task_type=task, r=2),
    "lora-xs": lambda task: LoRAXSConfig(task_type=task, r=4),
    "metatt": lambda task: MetaTTConfig(task_type=task, rank=3),
    "adapter": lambda task: BottleneckAdapterConfig(task_type=task, bottleneck=8),
    "bitfit": bitfit_config,
    "prompt": lambda task: prompt_config(task, num_tokens=3),
    "prefix": lambda task: prefix_config(task, num_tokens=3),
    "prefix-projection": lambda task: prefix_config(task, num_tokens=3, projection=6),
    "p-tuning": lambda task: p_tuning_config(task, num_tokens=3, width=8),
    "ia3": ia3_config,
    "vera": lambda task: vera_config(task, r=4),
    "vera-redrawn": lambda task: vera_config(task, r=4, save_projection=False),
    "head": head_config,
    "full": full_config,
    "peft:ln-tuning": lambda task: peft_config_from_table(
        "ln-tuning", {"target_modules": r".*(?:norm|LayerNorm)"}, task_type=task
    ),
    "peft:loha": lambda task: peft_config_from_table(
        "loha", {"r": 2, "target_modules": "all-linear"}, task_type=task
    ),
}

# Those of them that are tuners of ours and put something beside layers of the model.
OURS = ["tt", "lora-xs", "metatt", "adapter"]


def adapted(base: nn.Module, method: str, *, task: str = "SEQ_CLS", seed: int = 0) -> PeftModel:
    """``base`` with the adapter of ``method``; changes ``base`` and torch's random state."""
    torch.manual_seed(seed)
    return adapt(base, CONFIGS[method](task))


def state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers, by name."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}


def train(model: nn.Module, ids: Tensor, labels: Tensor, *, steps: int = 2) -> set[str]:
    """AdamW steps with weight decay, which change ``model``; the names that ever had a gradient."""
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02, weight_decay=0.1)
    reached: set[str] = set()
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
        reached |= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
    model.eval()
    return reached


def masked_logits(model: nn.Module, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Logits in evaluation mode, with an attention mask (of ones by default), no gradients."""
    attended = torch.ones_like(ids) if mask is None else mask
    with torch.no_grad():
        result: Tensor = model.eval()(input_ids=ids, attention_mask=attended).logits
    return result
