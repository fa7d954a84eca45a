"""Paths of a configuration are relative to its file."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedtt.config.overrides import Table, flatten, set_key
from fedtt.errors import ConfigError
from fedtt.model_place import MODEL_ALIASES, PATH_STARTS


def anchor_paths(table: Table, *, folder: Path) -> Table:
    """Make the paths of ``[data]``, and ``model.name`` where it is a model there, absolute.

    Those that the axes of ``[compare]`` set, too.

    Raises :class:`ConfigError` for what can be no path, and for a model's name that only the
    working directory has.
    """
    anchored = table
    for key in ANCHORS:
        section, _, name = key.partition(".")
        text = text_at(table, section, name)
        if text:
            anchored = set_key(anchored, key, _anchor_value(text, key, folder), where=key)
    compare = table.get("compare")
    if isinstance(compare, Mapping):
        axes = {axis: _anchor_axis(compare[axis], folder) for axis in AXES if axis in compare}
        anchored = {**anchored, "compare": {**compare, **axes}}
    return anchored


def _anchor_axis(variants: Any, folder: Path) -> Any:
    """The variants of an axis; what is not what it should be is left to the schema."""
    if not isinstance(variants, list):
        return variants
    return [
        {**variant, **dict(_anchored_keys(variant, folder))}
        if isinstance(variant, Mapping)
        else variant
        for variant in variants
    ]


def _anchored_keys(variant: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Table]]:
    for key in ("set", "grid"):
        if isinstance(variant.get(key), Mapping):
            values = flatten(variant[key])
            for path in ANCHORS.keys() & values.keys():
                values[path] = _anchor_value(values[path], path, folder)
            yield key, values


def _anchor_value(value: Any, key: str, folder: Path) -> Any:
    if isinstance(value, list):
        return [_anchor_value(one, key, folder) for one in value]
    if not isinstance(value, str) or not value:
        return value
    try:
        return ANCHORS[key](value, folder)
    except ConfigError:  # a ValueError, which has said already what it is
        raise
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a zero in the name
        raise ConfigError(
            "no file or directory can lie there",
            where=key,
            got=f"{value!r}: {error}",
            expected="the path of a file or directory",
            fix="correct the path",
        ) from error


def text_at(table: Mapping[str, Any], section: str, key: str) -> str:
    """The text at ``section.key``; empty where there is none."""
    below = table.get(section)
    value = below.get(key) if isinstance(below, Mapping) else None
    return value if isinstance(value, str) else ""


def _anchor(path: str, folder: Path) -> Path:
    # os.path: pathlib raises for the home of a user there is not.
    return (folder / os.path.expanduser(path)).resolve()  # noqa: PTH111


def _anchor_data(path: str, folder: Path) -> str:
    return str(_anchor(path, folder))


def _anchor_model(name: str, folder: Path) -> str:
    if name in MODEL_ALIASES:
        return name
    place = _anchor(name, folder)
    if _holds_model(place) or name.startswith(PATH_STARTS):
        return str(place)
    if _holds_model(Path(name)):
        # Whoever loads the model would take it, and another one from another working directory.
        raise ConfigError(
            "model.name is relative to the file, and only the working directory has it",
            where="model.name",
            got=name,
            expected=f"{place}, or a hub id",
            fix=f"write {Path(name).resolve()}; or rename that, if a hub id is meant",
        )
    return name


def _holds_model(place: Path) -> bool:
    return place.is_dir() or (place.suffix.lower() == ".gguf" and place.is_file())


AXES = ("settings", "methods", "options")
ANCHORS: Mapping[str, Callable[[str, Path], str]] = {
    "data.path": _anchor_data,
    "data.test_path": _anchor_data,
    "data.directory": _anchor_data,
    "model.name": _anchor_model,
}
