"""Budgets of tokens by memory."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fedtt.engine import token_budget as limits
from fedtt.engine.token_budget import auto_max_tokens, forward_worth


def model(width: int, layers: int, *, vocabulary: int = 10) -> nn.Module:
    module = nn.Linear(1, 1)
    text = SimpleNamespace(vocab_size=vocabulary)
    module.config = SimpleNamespace(
        hidden_size=width, num_hidden_layers=layers, get_text_config=lambda: text
    )
    return module


def test_the_budget_is_an_eighth_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(limits, "CGROUP_LIMIT", limit)
    limit.write_text("100000000\n")
    # 34 numbers x 4 bytes x 6 layers x 384 = 313,344 bytes a token; 12,500,000 bytes hold 39
    assert auto_max_tokens(model(384, 6), model_class="classification") == 256  # at least
    # 34 x 4 x 2 x 32 = 8,704
    assert auto_max_tokens(model(32, 2), model_class="classification") == 1436
    assert auto_max_tokens(model(32, 2).to(torch.bfloat16), model_class="classification") == 2872
    # and 4 x 4 x 1,000 of logits
    causal = model(32, 2, vocabulary=1000)
    assert auto_max_tokens(causal, model_class="causal") == 12_500_000 // (8704 + 16_000)
    limit.write_text("max")
    assert auto_max_tokens(model(32, 2), model_class="classification") == 4096  # at most, on a CPU


def test_a_forward_is_worth_fewer_tokens_in_a_wide_model() -> None:
    assert forward_worth(model(384, 6)) == 81  # 1.2e7 / 147,456 = 81.4
    assert forward_worth(model(4096, 32)) == 0
