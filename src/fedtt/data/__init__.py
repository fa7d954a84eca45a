"""Where texts come from, how they are split over clients, and how they become batches."""

from fedtt.data.archive import default_cache_dir, fetch_sdist, find_cached
from fedtt.data.batches import epoch_steps, evaluation_batches, step_batches
from fedtt.data.files import load_text_file
from fedtt.data.partition import (
    by_owner,
    by_proportions,
    dirichlet,
    iid,
    name_clients,
    quantity,
)
from fedtt.data.pool import Pool, hand_out, sample_examples, split_pool
from fedtt.data.preview import (
    ClientPreview,
    Distribution,
    PopulationPreview,
    describe,
    describe_shared,
    summarize_clients,
)
from fedtt.data.silos import load_sentiment_silos
from fedtt.data.split import split_clients
from fedtt.data.stack import concatenate, stack_batches
from fedtt.data.tokens import TokenizedTexts, collate, tokenize
from fedtt.data.types import (
    SHARED,
    ClientData,
    FederatedData,
    LabeledTexts,
    RawData,
    is_unicode,
)

__all__ = [
    "SHARED",
    "ClientData",
    "ClientPreview",
    "Distribution",
    "FederatedData",
    "LabeledTexts",
    "Pool",
    "PopulationPreview",
    "RawData",
    "TokenizedTexts",
    "by_owner",
    "by_proportions",
    "collate",
    "concatenate",
    "default_cache_dir",
    "describe",
    "describe_shared",
    "dirichlet",
    "epoch_steps",
    "evaluation_batches",
    "fetch_sdist",
    "find_cached",
    "hand_out",
    "iid",
    "is_unicode",
    "load_sentiment_silos",
    "load_text_file",
    "name_clients",
    "quantity",
    "sample_examples",
    "split_clients",
    "split_pool",
    "stack_batches",
    "step_batches",
    "summarize_clients",
    "tokenize",
]
