import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.strict_json import MAX_DIGITS, parse_json

floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(10**90), 10**90) | floats | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_plain_json_is_read_as_json_reads_it(value: object) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "twice in a table: 'a'"),
        ('[{"b": {"c": 1, "c": 1}}]', "twice in a table: 'c'"),
        ("NaN", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("1e999", "too large: 1e999"),
        ("9" * (MAX_DIGITS + 2), "a whole number of 102 digits"),
        ('{"x": -' + "9" * 5000 + "}", "a whole number of 5001 digits"),
        ("[" * 200_000, "nested too deep"),
        ("{", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_what_can_be_read_in_two_ways_or_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_raise_nothing_else(text: bytes) -> None:
    with suppress(ValueError):
        parse_json(text)
