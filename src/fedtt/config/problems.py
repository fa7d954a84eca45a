"""What pydantic found wrong with a configuration, as a line that a person can act on."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from fedtt.config.schema import RunConfig
from fedtt.data.named.catalog import SOURCES
from fedtt.methods import METHODS

NO_TABLE = frozenset({"model_type", "model_attributes_type", "dict_type"})
# The key that is meant where a section itself is given a value: the first of these that it has.
MEANT = ("name", "kind", "path", "codec")


def describe_problem(
    path: tuple[int | str, ...],
    item: Mapping[str, Any],
    *,
    known: Mapping[str, list[str]] | None = None,
) -> str:
    """One line on a problem that pydantic found; ``known``: section -> its keys, to suggest."""
    location = [str(part) for part in path]
    key = ".".join(location) or "the file"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key{_suggest(location, known or _known_keys())}"
    if item["type"] == "missing":
        return f"{key}: missing"
    if item["type"] in NO_TABLE:
        return f"{key}: got {_got(item)}; {_suggest_key(location, item, known or _known_keys())}"
    if isinstance(item["input"], Mapping):  # values that do not go together
        return f"{key}: {_reason(item)}"
    return f"{key}: got {_got(item)}; {_reason(item)}"


def _got(item: Mapping[str, Any]) -> str:
    value = item["input"]
    value = value.get("name") if isinstance(value, Mapping) else value
    try:
        text = repr(value)
    except ValueError:  # a number that Python does not write out, of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _reason(item: Mapping[str, Any]) -> str:
    if item["type"] == "path_type":  # pydantic's own words name a class of Python
        return "input should be a path, in quotes"
    message = str(item["msg"]).removeprefix("Value error, ").replace("a valid tuple", "a list")
    return message[:1].lower() + message[1:]


def _suggest_key(
    location: list[str], item: Mapping[str, Any], everywhere: Mapping[str, list[str]]
) -> str:
    keys = everywhere.get(".".join(part for part in location if not part.isdigit()), [])
    if item["input"] in tuple(SOURCES):
        meant = "source"
    else:
        meant = next((key for key in MEANT if key in keys), "")
    if meant in keys:
        return f"this is a section; did you mean {'.'.join([*location, meant])!r}?"
    known = f"; known in it: {', '.join(keys)}" if keys else ", a table of keys"
    return f"this is a section{known}"


def _suggest(location: list[str], everywhere: Mapping[str, list[str]]) -> str:
    *sections, key = location
    here = everywhere.get(".".join(s for s in sections if not s.isdigit()), [])
    close = get_close_matches(key, here, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {'.'.join([*sections, close[0]])!r}?"
    elsewhere = [f"{s}.{key}" if s else key for s, keys in everywhere.items() if key in keys]
    if elsewhere:
        return f"; did you mean {elsewhere[0]!r}?"
    return f"; known here: {', '.join(here)}"


def _known_keys() -> dict[str, list[str]]:
    keys = _keys_of(RunConfig)
    # Not those of packages that the configuration does not name: a hint runs no code of theirs.
    for entry in METHODS.at_hand():
        for section, known in _keys_of(entry.section, "method").items():
            keys[section] = list(dict.fromkeys([*keys.get(section, ()), *known]))
    return keys


def _keys_of(section: type[BaseModel], where: str = "") -> dict[str, list[str]]:
    """Of the section, and of every section in it: its dotted name -> its keys."""
    keys = {where: list(section.model_fields)}
    for name, field in section.model_fields.items():
        # A section, or a section that may be left out: Section | None.
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys |= _keys_of(part, f"{where}.{name}" if where else name)
    return keys
