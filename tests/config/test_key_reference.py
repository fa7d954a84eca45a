"""docs/configuration.md lists every key as the schema has it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from fedtt.config import RunConfig, method_sections, parse_method
from fedtt.config.key_reference import BEGIN, END, MORE, every_key, renewed
from fedtt.methods import METHODS
from fedtt.section import Section

PAGE = Path("docs/configuration.md").read_text(encoding="utf-8")
COMMAND = "python -m fedtt.config.key_reference docs/configuration.md"


def sections_in(kind: Any) -> Iterator[type[Section]]:
    if isinstance(kind, type) and issubclass(kind, Section):
        yield kind
        for field in kind.model_fields.values():
            yield from sections_in(field.annotation)
    for part in get_args(kind):
        yield from sections_in(part)


SECTIONS = {*sections_in(RunConfig), *method_sections()}


def test_the_page_is_what_the_schema_says() -> None:
    stale = f"docs/configuration.md is stale: write it anew by\n  {COMMAND}"
    assert renewed(PAGE) == PAGE, stale
    assert COMMAND in BEGIN


def test_only_what_is_between_the_marks_is_written_anew() -> None:
    page = renewed(f"before\n{BEGIN}\nold words\n{END}\nafter\n")
    assert (page.startswith(f"before\n{BEGIN}\n"), page.endswith(f"{END}\nafter\n")) == (True, True)
    assert "old words" not in page


def test_every_key_of_every_section_has_a_description() -> None:
    bare = [
        f"{section.__name__}.{name}"
        for section in SECTIONS - {RunConfig}
        for name, field in section.model_fields.items()
        if not field.description and name != "name"
    ]
    assert bare == []


def rows_of(heading: str) -> dict[str, tuple[str, str]]:
    """Key -> values and default, in the table under a heading."""
    table = every_key().split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]
    return {
        key: (values, default)
        for key, values, default in re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*?) \|", table, re.M)
    }


@pytest.mark.parametrize("name", [name for name in METHODS.own_names if name != "peft:TYPE"])
def test_the_defaults_of_each_method_are_those_it_has(name: str) -> None:
    section = parse_method(name, overrides=())
    family = [other for other in METHODS.own_names if METHODS[other].section is type(section)]
    common = rows_of("`[method]`")
    own = set(type(section).model_fields) - set(common)
    rows = rows_of(f"Of {', '.join(f'`{one}`' for one in family)}") if own else {}
    assert set(rows) == own
    for key, (_, default) in rows.items():
        value = getattr(section, key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert float(default.replace(",", "")) == value


def test_what_was_wrong_by_hand() -> None:
    assert rows_of("Of `lora-xs`")["rank"][1] == "16"
    assert rows_of("Of `vera`")["rank"][1] == "256"
    assert rows_of("Of `adapter`")["bias"][1] == "`true`"


def test_bounds_and_choices_are_those_that_are_checked() -> None:
    assert rows_of("`[method]`")["subspace.size"] == (
        "whole number, 1 to 1,000,000,000",
        "required",
    )
    assert rows_of("`[wire]`")["codec"][0].startswith("`plain`, `bfloat16`, `int8`")
    assert rows_of("`[server]`")["trim"][0] == "number, over 0 to below 0.5"
    with pytest.raises(ValidationError, match="less than 0"):
        RunConfig.model_fields["server"].annotation(trim=0.5)  # type: ignore[misc]


def test_more_is_said_of_keys_that_there_are() -> None:
    for where in MORE:
        section, _, key = where.partition(".")
        assert key in rows_of(f"`[{section}]`")
