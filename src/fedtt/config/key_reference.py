"""The table of every key, out of the sections' own fields: docs/configuration.md's middle part.

``python -m fedtt.config.key_reference docs/configuration.md`` writes it anew between the two marks.
A field's description is its meaning; what follows "left out: " in it is the default of a key that
has no value of its own.
"""

import datetime
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from fedtt.atomic_write import replace_file
from fedtt.config.schema import RunConfig
from fedtt.methods import METHODS, MethodSection
from fedtt.registry import Registry
from fedtt.section import Section

BEGIN = "<!-- every key: written by python -m fedtt.config.key_reference docs/configuration.md -->"
END = "<!-- end of every key -->"
LEFT_OUT = re.compile(r"[;,]? ?left out: (.*)$")
HEADER = "| key | values | default | meaning |\n|---|---|---|---|"
SIMPLE: Mapping[Any, str] = {
    bool: "`true`, `false`",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    datetime.date: "date",
    dict: "table",
}
# Where more is said of a key.
MORE: Mapping[str, str] = {
    "model.attn_implementation": "performance.md#bfloat16-on-a-processor",
    "model.quantization": "#models",
    "data.source": "data.md",
    "data.label_values": "data.md#labels",
    "task.kind": "tasks.md",
    "partition.kind": "#partitions",
    "method.name": "methods.md",
    "method.subspace": "methods.md#subspaces",
    "cohort.batched": "#clients-that-train-together",
    "client.optimizer_state": "#optimizers-that-are-kept",
    "server.aggregation": "defenses.md",
    "server.weight_cap": "defenses.md",
    "wire.codec": "protocol.md#codecs",
    "wire.downlink": "protocol.md#the-downlink",
    "wire.error_feedback": "protocol.md#error-feedback",
    "privacy.client": "privacy.md",
    "privacy.example": "privacy.md",
    "privacy.secure_aggregation": "privacy.md#secure-aggregation",
    "attack.kind": "defenses.md#attacks-simulated",
    "sites.names": "sites.md",
    "track.to": "trackers.md",
}


def every_key() -> str:
    """Headings and tables in Markdown, in the order of the schema."""
    top, parts = [HEADER], []
    for name, field in RunConfig.model_fields.items():
        section = _section_in(field.annotation)
        if section is None:
            top.append(_row(name, field, where=name))
        elif issubclass(section, MethodSection):
            parts += list(_methods(section))
        else:
            parts.append(_part(f"`[{name}]`", section, where=name))
    return "\n\n".join(["\n".join(top), *parts])


def _part(title: str, section: type[Section], *, where: str, told: str = "") -> str:
    told = told or re.sub(r"^``[^`]*``[^:]*: ", "", " ".join((section.__doc__ or "").split()))
    told = told.replace("``", "`")
    rows = "\n".join(_rows(section, where=where))
    return f"### {title}\n\n{told[:1].upper()}{told[1:]}\n\n{HEADER}\n{rows}"


def _methods(base: type[MethodSection]) -> Iterator[str]:
    """What every method takes, and then the keys of each family, which has its own defaults."""
    told = "What every method takes; below, what each takes beside it."
    yield _part("`[method]`", base, where="method", told=told)
    families: dict[type[MethodSection], list[str]] = {}
    for name in METHODS.own_names:
        families.setdefault(METHODS[name].section, []).append(name)
    for section, names in families.items():
        rows = list(_rows(section, where="method", above=base))
        if rows:
            yield f"#### Of {_listed(names)}\n\n{HEADER}\n" + "\n".join(rows)


def _rows(
    section: type[Section], *, where: str, above: type[Section] | None = None, before: str = ""
) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if above is not None and name in above.model_fields:
            continue
        yield _row(f"{before}{name}", field, where=f"{where}.{before}{name}")
        below = _section_in(field.annotation)
        if below is not None:
            yield from _rows(below, where=where, before=f"{before}{name}.")


def _row(key: str, field: FieldInfo, *, where: str) -> str:
    meaning = field.description or ""
    told = LEFT_OUT.search(meaning)
    meaning = LEFT_OUT.sub("", meaning)
    if where in MORE:
        meaning += f" ([more]({MORE[where]}))"
    if told:
        default = told[1]
    elif field.is_required():
        default = "required"
    else:
        default = _spelled(field.default)
    cells = (f"`{key}`", _values(field.annotation, field.metadata), default, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _spelled(value: object) -> str:
    """A default as TOML has it."""
    if value is None:
        return ""
    if value is True or value is False:
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, str) else f"{value:,}"


def _values(kind: Any, metadata: list[Any]) -> str:
    """What a key takes, in words."""
    names = _names_of_a_table(metadata)
    if names:
        return _listed(names)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in _COMPOUND:
        return _COMPOUND[origin](parts, metadata)
    if _section_in(kind) is not None:
        return "table"
    return SIMPLE[kind] + _bounds(metadata)


def _names_of_a_table(metadata: list[Any]) -> tuple[str, ...]:
    """Of the registry whose ``check`` validates the key, if one does."""
    checks = (getattr(item, "func", None) for item in metadata)
    tables = (getattr(check, "__self__", None) for check in checks)
    return next((table.own_names for table in tables if isinstance(table, Registry)), ())


def _annotated(parts: tuple[Any, ...], _: list[Any]) -> str:
    kind, *more = parts
    flat = [item.metadata if isinstance(item, FieldInfo) else [item] for item in more]
    return _values(kind, [item for items in flat for item in items])


def _one_of(parts: tuple[Any, ...], metadata: list[Any]) -> str:
    told = [_values(part, metadata) for part in parts if part is not NoneType]
    return ", or ".join(dict.fromkeys(told))


def _list(parts: tuple[Any, ...], _: list[Any]) -> str:
    told = _values(parts[0], [])
    return f"list of {told}" if parts[-1] is Ellipsis else f"{len(parts)} times {told}"


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_COMPOUND: Mapping[Any, Callable[[tuple[Any, ...], list[Any]], str]] = {
    Annotated: _annotated,
    Union: _one_of,
    UnionType: _one_of,
    Literal: lambda parts, _: _listed(parts),
    tuple: _list,
    dict: lambda _, __: "table",
}


def _bounds(metadata: list[Any]) -> str:
    low = next((f", {_number(m.ge)}" for m in metadata if isinstance(m, Ge)), "")
    low = next((f", over {_number(m.gt)}" for m in metadata if isinstance(m, Gt)), low)
    high = next((f" to {_number(m.le)}" for m in metadata if isinstance(m, Le)), "")
    return low + next((f" to below {_number(m.lt)}" for m in metadata if isinstance(m, Lt)), high)


def _number(value: Any) -> str:
    if value == 2**63:
        return "2^63"
    return f"{value:,}" if abs(value) < 10**12 else f"{value:.0e}".replace("e+", "e")


def _section_in(kind: Any) -> type[Section] | None:
    """The section that a field holds, perhaps optionally."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind
    return next(filter(None, map(_section_in, get_args(kind))), None)


def renewed(page: str) -> str:
    """The page with its part between the two marks written anew."""
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n\n{every_key()}\n\n{END}{after}"


if __name__ == "__main__":
    place = Path(sys.argv[1])
    replace_file(place, renewed(place.read_text(encoding="utf-8")).encode())
