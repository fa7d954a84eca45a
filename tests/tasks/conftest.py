"""The tiny LLaMA and its tokenizer, loaded."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer


@pytest.fixture(scope="session")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    """The tiny LLaMA's tokenizer."""
    return AutoTokenizer.from_pretrained(tiny_llama)


@pytest.fixture(scope="session")
def llama(tiny_llama: Path) -> PreTrainedModel:
    """The tiny LLaMA, not training."""
    return AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
