"""``key=value``, and dotted keys of nested tables."""

from collections.abc import Mapping
from typing import Any

from fedtt.errors import ConfigError

Table = dict[str, Any]


def split_override(override: str) -> tuple[str, str]:
    """Key and text of ``key=text``."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            "cannot read an override",
            where="--set",
            got=override,
            expected="section.key=value",
            fix="for example: --set client.learning_rate=1e-3",
        )
    return key.strip(), text.strip()


def set_key(table: Table, key: str, value: Any, *, where: str) -> Table:
    """The table with the value at a dotted key; ``None`` unsets the key. ``table`` stays as it is.

    Raises :class:`ConfigError` where the key leads through something that is not a table.
    """
    *sections, last = key.split(".")
    result = dict(table)
    level = result
    for section in sections:
        below = level.get(section, {})
        if not isinstance(below, dict):
            raise ConfigError(
                "an override goes through a plain value",
                where=where,
                got=f"{section} = {below!r}",
                expected=f"a section {section}, with keys of its own",
                fix=f"set {key} alone, and not {section} itself",
            )
        level[section] = dict(below)
        level = level[section]
    if value is None:
        level.pop(last, None)
    else:
        level[last] = value
    return result


def flatten(table: Mapping[str, Any]) -> Table:
    """Dotted key -> value: ``{"a": {"b": 1}}`` as ``{"a.b": 1}``; an empty table is a value."""
    flat: Table = {}
    for key, value in table.items():
        inner = flatten(value) if isinstance(value, Mapping) else {}
        flat |= {f"{key}.{below}": v for below, v in inner.items()} or {str(key): value}
    return flat
