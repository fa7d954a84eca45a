"""Federated fine-tuning of language models with tensor-train adapters (FedTT, FedTT+).

Importing this package loads neither torch nor transformers nor peft; public names are loaded when
they are first used. ``PeftModel.from_pretrained`` knows TT adapters once it is imported.
"""

from importlib import import_module

from fedtt import _peft_hook
from fedtt._version import __version__

TYPE_CHECKING = False  # as in typing, which takes too long to import: see _peft_hook
if TYPE_CHECKING:
    from fedtt.api import (
        ComparisonResult,
        Run,
        compare,
        cost,
        load_runs,
        open_run,
        resume,
        train,
    )
    from fedtt.config import RunConfig, load_config
    from fedtt.peft import TTAdapterConfig

_API = ("ComparisonResult", "Run", "compare", "cost", "load_runs", "open_run", "resume", "train")
_HOMES = {
    "RunConfig": "fedtt.config",
    "TTAdapterConfig": "fedtt.peft",
    "load_config": "fedtt.config",
    **dict.fromkeys(_API, "fedtt.api"),
}

__all__ = [
    "ComparisonResult",
    "Run",
    "RunConfig",
    "TTAdapterConfig",
    "__version__",
    "compare",
    "cost",
    "load_config",
    "load_runs",
    "open_run",
    "resume",
    "train",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


_peft_hook.install()
