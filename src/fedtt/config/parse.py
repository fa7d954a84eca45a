"""TOML <-> :class:`RunConfig`, with messages a person can act on."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import TypeAdapter, ValidationError

from fedtt.config.anchored_paths import anchor_paths
from fedtt.config.extended_file import extended_files, read_extended
from fedtt.config.method_section import MethodConfig
from fedtt.config.overrides import Table, flatten, set_key, split_override
from fedtt.config.problems import describe_problem
from fedtt.config.schema import RunConfig
from fedtt.errors import ConfigError
from fedtt.preset_files import find_config
from fedtt.section import CommandLineText

FOLLOWERS = "track."  # who follows a run is no part of it
# What a configuration may leave open, and a run's own has settled: key -> its value there.
LEFT_OPEN: Mapping[str, object] = {
    "model.dtype": "auto",
    "cohort.max_tokens": "auto",
    "task.date": None,
}


def load_config(path: str | Path, *, overrides: Iterable[str] = ()) -> RunConfig:
    """The config in a TOML file, with ``a.b=value`` overrides applied (``a.b=`` unsets a key).

    ``path`` may be the name of a preset, such as ``"silos"``, where there is no such file.

    Relative paths in a file are relative to that file; in overrides, to the working directory.
    Raises :class:`ConfigError` for anything wrong, naming the key.
    """
    return parse_config(read_table(path, overrides=overrides), where=str(path))


def read_table(path: str | Path, *, overrides: Iterable[str] = ()) -> Table:
    """The nested table in a TOML file or a preset, with what it extends, overrides applied.

    Paths are absolute; nothing else is checked. Raises :class:`ConfigError` for what is not TOML,
    and for what :func:`fedtt.config.extended_file.read_extended` refuses.
    """
    table = read_extended(find_config(path), read=_read_anchored)
    return apply_overrides(table, overrides)


def files_of(path: str | Path) -> list[Path]:
    """Every file that a configuration is read from. Raises like :func:`read_table`."""
    return extended_files(find_config(path), read=_read_anchored)


def _read_anchored(path: Path) -> Table:
    """The table of one file, its paths absolute."""
    try:
        table = _parse_toml(read_text(path))
    except OSError as error:
        raise ConfigError(
            "cannot read the configuration",
            where=str(path),
            got=error,
            fix="give the path of a TOML file or the name of a preset: fedtt presets",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            "the configuration is not UTF-8 text",
            where=str(path),
            got=error,
            fix="save the file as UTF-8; a byte-order mark at its start may stay",
        ) from error
    except ValueError as error:
        raise ConfigError("not valid TOML", where=str(path), got=error) from error
    return anchor_paths(table, folder=path.parent)


def apply_overrides(table: Table, overrides: Iterable[str]) -> Table:
    """The table with ``a.b=value`` overrides, their paths relative to the working directory.

    Raises :class:`ConfigError` for what is no override.
    """
    return reduce(_apply_override, overrides, table)


def parse_config(table: Mapping[str, Any], *, where: str) -> RunConfig:
    """The config in a nested table. Raises :class:`ConfigError` naming every bad key."""
    try:
        config = RunConfig.model_validate(dict(table))
    except ValidationError as error:
        problems = [describe_problem(item["loc"], dict(item)) for item in error.errors()]
        raise ConfigError(
            "the configuration does not hold together:\n" + "\n".join(f"  - {p}" for p in problems),
            where=where,
            fix="docs/configuration.md lists every key",
        ) from error
    for key, value in _values(config).items():
        _check_encodable(value, where=f"{where}, {key}")
    return config


def override_config(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """The config with ``key=value`` overrides applied. Raises like :func:`load_config`."""
    table: Table = config.model_dump(mode="json", exclude_none=True)
    return parse_config(apply_overrides(table, overrides), where="--set")


def parse_method(name: str, *, overrides: Iterable[str]) -> MethodConfig:
    """The ``[method]`` section of that name, with ``key=value`` overrides of its keys."""
    table: Table = {"name": name}
    for override in overrides:
        table = _apply_override(table, override)
    try:
        return TypeAdapter(MethodConfig).validate_python(table)
    except ValidationError as error:
        problems = [
            describe_problem(("method", *item["loc"]), dict(item)) for item in error.errors()
        ]
        raise ConfigError(
            "the method does not hold together:\n" + "\n".join(f"  - {p}" for p in problems)
        ) from error


def parse_methods(names: Iterable[str], *, overrides: Iterable[str]) -> dict[str, MethodConfig]:
    """Sections by name; an override changes every method that has its key, and one must have it."""
    keys = {override: split_override(override)[0].split(".")[0] for override in overrides}
    known = {name: type(parse_method(name, overrides=())).model_fields for name in names}
    unknown = {o for o, key in keys.items() if not any(key in fields for fields in known.values())}
    return {
        name: parse_method(
            name, overrides=[o for o, key in keys.items() if key in fields or o in unknown]
        )
        for name, fields in known.items()
    }


def dump_config(config: RunConfig) -> str:
    """The config as TOML, complete, without the keys whose value is "left out"."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def config_differences(first: RunConfig, second: RunConfig) -> list[str]:
    """``key: value in first -> value in second`` for every key whose values differ.

    What the second leaves open (``model.dtype = "auto"``) may be anything in the first, and who
    follows the run is no difference.
    """
    old, new = _values(first), _values(second)
    new |= {key: old[key] for key, open_value in LEFT_OPEN.items() if new[key] == open_value}
    return [
        f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and not key.startswith(FOLLOWERS)
    ]


def _values(config: RunConfig) -> Table:
    """Dotted key -> value, tables without keys left out."""
    return {k: v for k, v in flatten(config.model_dump(mode="json")).items() if v != {}}


def _check_encodable(value: Any, *, where: str) -> None:
    """Refuse what no file can hold: half a surrogate pair, as of bytes that are not UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "a value is not UTF-8 text", where=where, got=repr(value), fix="rename it"
        ) from error


def read_text(path: Path) -> str:
    """A text file that people write: UTF-8, with or without the byte-order mark of some editors."""
    return path.read_text(encoding="utf-8-sig")


def _parse_toml(text: str) -> Table:
    """The table. Raises ``ValueError``, for what is too deep to read too."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error


def _apply_override(table: Table, override: str) -> Table:
    key, text = split_override(override)
    where = f"--set {override}"
    if not text:
        return set_key(table, key, None, where=where)
    # Anchored by itself: its paths are relative to the working directory, the table's are not.
    alone = anchor_paths(set_key({}, key, _toml_value(text), where=where), folder=Path())
    return set_key(table, key, reduce(getitem, key.split("."), alone), where=where)


def _toml_value(text: str) -> Any:
    try:
        value = _parse_toml(f"value = {text}")["value"]
    except ValueError:
        value = text  # a bare word is a string, as on every command line
    # What is not ASCII is no number, and pydantic copies no half of a character.
    return CommandLineText(value) if isinstance(value, str) and value.isascii() else value
