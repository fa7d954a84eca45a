"""Tables of what there is by name."""

import math

import pytest

from fedtt.errors import ConfigError
from fedtt.registry import Registry


def table() -> Registry[object]:
    return Registry("shape", {"circle": "math:tau", "square": 4})


def test_a_row_is_a_value_or_the_place_of_one() -> None:
    assert table()["square"] == 4
    assert table()["circle"] == math.tau


def test_the_place_of_a_row_is_not_looked_at_before_it_is_asked_for() -> None:
    rows = Registry[object]("shape", {"ghost": "no_such_module:nothing"})
    assert rows.names == ("ghost",)
    assert rows.check("ghost") == "ghost"
    with pytest.raises(ModuleNotFoundError):
        rows["ghost"]


def test_a_name_that_is_none_is_refused_with_the_choices_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no shape is called 'circel'. Did you mean 'circle'\?"):
        table()["circel"]
    with pytest.raises(ValueError, match="There are: circle, square"):
        table().check("line")


def test_a_registered_row_is_like_the_others_and_takes_no_name() -> None:
    rows = table()
    rows.register("triangle", 3)
    assert (rows["triangle"], list(rows)) == (3, ["circle", "square", "triangle"])
    with pytest.raises(ConfigError, match="there is a shape of that name"):
        rows.register("circle", 1)


def test_a_row_for_a_while_is_gone_afterwards() -> None:
    table: Registry[int] = Registry("number", {"one": 1})
    with table.having("two", 2):
        assert table["two"] == 2
        with pytest.raises(ConfigError, match="there is a number of that name"):
            table.register("two", 3)
    assert table.names == ("one",)
