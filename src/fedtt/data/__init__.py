"""Where texts come from, how they are split over clients, and how they become batches."""

from fedtt.data.archive import default_cache_dir, fetch_sdist, find_cached
from fedtt.data.batches import epoch_steps, evaluation_batches, step_batches
from fedtt.data.files import load_text_file
from fedtt.data.preview import ClientPreview, describe
from fedtt.data.silos import load_sentiment_silos
from fedtt.data.split import split_clients
from fedtt.data.tokens import TokenizedTexts, collate, tokenize
from fedtt.data.types import ClientData, FederatedData, LabeledTexts, RawData

__all__ = [
    "ClientData",
    "ClientPreview",
    "FederatedData",
    "LabeledTexts",
    "RawData",
    "TokenizedTexts",
    "collate",
    "default_cache_dir",
    "describe",
    "epoch_steps",
    "evaluation_batches",
    "fetch_sdist",
    "find_cached",
    "load_sentiment_silos",
    "load_text_file",
    "split_clients",
    "step_batches",
    "tokenize",
]
