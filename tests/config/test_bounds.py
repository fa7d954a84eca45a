"""No number of a configuration or of the command line may be as large as anybody likes."""

from collections.abc import Iterator
from typing import Any

import click
import pytest
import typer
from pydantic import BaseModel

from fedtt.cli.app import app
from fedtt.config import CompareConfig, RunConfig, method_sections, parse_config, parse_method
from fedtt.errors import ConfigError
from fedtt.section import Section

TABLE = {
    "rounds": 2,
    "model": {"name": "minilm"},
    "data": {"source": "sentiment-silos"},
    "method": {"name": "fedtt"},
}
LOWER, UPPER = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}


def unbounded(schema: Any, path: str = "") -> Iterator[str]:
    """Places of a JSON schema with a number that lacks a bound."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from unbounded(item, f"{path}/{index}")
    if not isinstance(schema, dict):
        return
    numeric = schema.get("type") in {"integer", "number"}
    if numeric and not (schema.keys() & LOWER and schema.keys() & UPPER):
        yield path
    for key, value in schema.items():
        yield from unbounded(value, f"{path}/{key}")


@pytest.mark.parametrize(
    "section", [RunConfig, CompareConfig, *method_sections()], ids=lambda section: section.__name__
)
def test_every_number_of_the_schema_has_bounds(section: type[BaseModel]) -> None:
    assert list(unbounded(section.model_json_schema())) == []


def test_the_check_of_the_schema_can_fail() -> None:
    class Bad(Section):
        rank: int
        ranks: tuple[float, ...] | None = None

    assert len(list(unbounded(Bad.model_json_schema()))) == 2


def test_every_number_of_the_command_line_has_bounds() -> None:
    def options(command: click.Command) -> Iterator[tuple[str, click.Parameter]]:
        for below in getattr(command, "commands", {}).values():
            yield from options(below)
        for parameter in command.params:
            yield f"{command.name} {parameter.name}", parameter

    found = dict(options(typer.main.get_command(app)))
    numbers = {
        name: parameter.type
        for name, parameter in found.items()
        if parameter.type.name.split()[0] in {"integer", "float"}
    }
    assert len(numbers) > 5
    bare = [n for n, kind in numbers.items() if None in (kind.min, kind.max)]  # type: ignore[attr-defined]
    assert bare == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rounds", 10**9),
        ("seed", 2**63),
        pytest.param("seed", 1 << 40_000, id="seed-of-12041-digits"),
        ("model.max_length", 10**10),
        ("cohort.size", 10**12),
        ("cohort.max_tokens", 10**30),
        ("client.steps", 10**12),
        ("client.batch_size", 10**9),
        ("client.learning_rate", 1e300),
        ("sites.patience", 1e10),
        ("method.rank", 10**9),
        ("method.bottleneck", 10**8),
        ("evaluation.batch_size", 10**12),
    ],
)
def test_an_absurd_number_is_refused_by_its_key(key: str, value: float) -> None:
    section, _, name = key.rpartition(".")
    table = (
        {**TABLE, section: {**TABLE.get(section, {}), name: value}}
        if section
        else {**TABLE, name: value}
    )
    with pytest.raises(ConfigError, match=rf"{key}: got .*; .*(less than|whole number)"):
        parse_config(table, where="the test")


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("lora", "rank=1000000000"),
        ("flexlora", "ranks=[1, 1000000000]"),
        ("vera", "rank=100000000"),
        ("prompt", "num_tokens=10000000000"),
        ("adapter", "bottleneck=100000000"),
        ("peft:loha", f"options={{ r = {'9' * 60} }}"),
        ("peft:loha", f"options={{ deep = [{{ r = 0x{'f' * 9000} }}] }}"),
    ],
)
def test_an_absurd_method_is_refused_by_its_key(name: str, override: str) -> None:
    with pytest.raises(ConfigError, match=rf"method.{override.partition('=')[0]}"):
        parse_method(name, overrides=[override])
