"""Where texts come from, how they are split over clients, and how they become batches."""

from fedtt.data.archive import default_cache_dir, fetch_sdist, find_cached
from fedtt.data.asked_texts import check_texts
from fedtt.data.batches import epoch_steps, evaluation_batches, step_batches
from fedtt.data.completions import (
    prompt_ids,
    stop_tokens,
    tokenize_completions,
    tokenize_texts,
)
from fedtt.data.examples import (
    NOTHING,
    ONE_CLASS,
    SHARED,
    SPLITS,
    ClientData,
    FederatedData,
    LabeledTexts,
    RawData,
    federate,
    hold,
    is_unicode,
    share,
)
from fedtt.data.files import load_text_file
from fedtt.data.holdings import Held, Parts
from fedtt.data.labels import GivenClasses
from fedtt.data.mapped import map_large
from fedtt.data.named import (
    SILOS,
    SOURCES,
    TASKS,
    NamedTask,
    find_task,
    load_named,
    load_named_split,
)
from fedtt.data.partition import (
    by_owner,
    by_proportions,
    dirichlet,
    iid,
    name_clients,
    quantity,
)
from fedtt.data.pool import (
    Pool,
    hand_out,
    leave_out_small,
    sample_examples,
    sample_groups,
    split_pool,
)
from fedtt.data.preview import (
    ClientPreview,
    Distribution,
    PopulationPreview,
    describe,
    describe_shared,
    summarize_clients,
)
from fedtt.data.prompt_rows import PromptColumns
from fedtt.data.silos import LABEL_NAMES as SILO_LABELS
from fedtt.data.silos import load_sentiment_silos
from fedtt.data.split import split_clients
from fedtt.data.stack import concatenate, stack_batches
from fedtt.data.tokens import TokenizedTexts, collate, tokenize
from fedtt.data.unlabeled_files import load_numbers, load_prompts, load_texts

__all__ = [
    "NOTHING",
    "ONE_CLASS",
    "SHARED",
    "SILOS",
    "SILO_LABELS",
    "SOURCES",
    "SPLITS",
    "TASKS",
    "ClientData",
    "ClientPreview",
    "Distribution",
    "FederatedData",
    "GivenClasses",
    "Held",
    "LabeledTexts",
    "NamedTask",
    "Parts",
    "Pool",
    "PopulationPreview",
    "PromptColumns",
    "RawData",
    "TokenizedTexts",
    "by_owner",
    "by_proportions",
    "check_texts",
    "collate",
    "concatenate",
    "default_cache_dir",
    "describe",
    "describe_shared",
    "dirichlet",
    "epoch_steps",
    "evaluation_batches",
    "federate",
    "fetch_sdist",
    "find_cached",
    "find_task",
    "hand_out",
    "hold",
    "iid",
    "is_unicode",
    "leave_out_small",
    "load_named",
    "load_named_split",
    "load_numbers",
    "load_prompts",
    "load_sentiment_silos",
    "load_text_file",
    "load_texts",
    "map_large",
    "name_clients",
    "prompt_ids",
    "quantity",
    "sample_examples",
    "sample_groups",
    "share",
    "split_clients",
    "split_pool",
    "stack_batches",
    "step_batches",
    "stop_tokens",
    "summarize_clients",
    "tokenize",
    "tokenize_completions",
    "tokenize_texts",
]
