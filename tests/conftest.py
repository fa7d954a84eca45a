"""Settings for every test: no network, property tests without a deadline, tiny models on disk."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny import save_tiny_bert

settings.register_profile("fedtt", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("fedtt")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a two-layer BERT with a word-level tokenizer, random weights."""
    return save_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))
