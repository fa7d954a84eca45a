"""Whether a model's name is the place of files on this machine, and they are there."""

import os

from fedtt.errors import ModelError

# What fedtt.models knows by a short name (importing it brings in torch).
MODEL_ALIASES = ("minilm", "smollm2")
PATH_STARTS = ("./", "../", "~", "/")


def is_path(name: str) -> bool:
    """Whether the name can only be a path: a hub id is OWNER/NAME."""
    return name.startswith(PATH_STARTS) or name.count("/") > 1 or name.lower().endswith(".gguf")


def check_model_place(name: str) -> None:
    """Raise :class:`ModelError` for a path where nothing is, which a hub would be asked for."""
    # os.path: pathlib raises for a name that is too long, and for a user that there is not.
    if is_path(name) and not os.path.exists(os.path.expanduser(name)):  # noqa: PTH110, PTH111
        kind = "file" if name.lower().endswith(".gguf") else "directory"
        raise ModelError(
            f"cannot load the base model: no such {kind}",
            where=f"model.name = {name!r}",
            expected=f"an alias ({', '.join(MODEL_ALIASES)}), a directory with config.json, "
            "tokenizer files and safetensors weights, a .gguf file, or a hub id",
            fix="check the path: in a configuration file it is relative to that file, on the "
            "command line to the current folder",
        )
