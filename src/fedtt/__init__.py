"""Federated fine-tuning of language models with tensor-train adapters (FedTT, FedTT+).

Importing this package loads neither torch nor transformers nor peft; public names are loaded when
they are first used. ``PeftModel.from_pretrained`` knows TT adapters once it is imported.
"""

from importlib import import_module

from fedtt import _peft_hook
from fedtt._version import __version__

_HOMES = {"TTAdapterConfig": "fedtt.peft"}

__all__ = ["TTAdapterConfig", "__version__"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


_peft_hook.install()
