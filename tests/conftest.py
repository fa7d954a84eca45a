"""Settings for every test: no network, property tests without a deadline, tiny models on disk."""

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: more threads only wait for each other

# A shell that starts the tests in the background lets them, and so what they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import settings

# Before anything imports these: every call in a test checks the shapes that they annotate.
CHECKED = [
    "fedtt.tt.contraction",
    "fedtt.tt.cores",
    "fedtt.tt.residual",
    "fedtt.tt.rounding",
    "fedtt.peft.dense_by_client",
    "fedtt.peft.tt_linear",
    "fedtt.peft.singular",
]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")

from fedtt.config import RunConfig, parse_config  # noqa: E402
from tests.tiny import save_tiny_bert, save_tiny_llama, write_reviews  # noqa: E402

settings.register_profile("fedtt", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("fedtt")


@pytest.fixture
def unchecked_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations are not checked, as outside tests: what they rule out meets our own errors."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(autouse=True, scope="session")
def _exact_base() -> Iterator[None]:
    """The base weights are float32 on every machine: results are compared to the last bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtt.engine.method_and_dtype.fast_dtype", lambda _device: "float32")
        yield


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a two-layer BERT with a word-level tokenizer, random weights."""
    return save_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a two-layer LLaMA with a word-level tokenizer, random weights."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clients of unequal size."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.jsonl"
    return write_reviews(path, clients={"north": 30, "south": 60, "west": 44})


@pytest.fixture(scope="session")
def make_config(tiny_bert: Path, reviews: Path) -> Callable[..., RunConfig]:
    """A complete config; keyword arguments replace whole sections or top-level keys."""

    def make(**changes: object) -> RunConfig:
        privacy = changes.get("privacy", {})
        hidden = isinstance(privacy, dict) and "example" in privacy  # goes without dropout only
        no_dropout = {"dropout": 0.0} if hidden else {}
        table = {
            "rounds": 3,
            "model": {"name": str(tiny_bert), "max_length": 16, "device": "cpu", **no_dropout},
            "data": {"path": str(reviews), "test": 0.2, "validation": 0.2},
            "method": {"name": "fedtt", "rank": 2, "bottleneck": 8},
            "client": {"steps": 3, "batch_size": 8, "learning_rate": 1e-2},
            **changes,
        }
        return parse_config(table, where="the test")

    return make
