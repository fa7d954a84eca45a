"""Values inside values, as a configuration or a config of PEFT's holds them."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(value: Any) -> Iterator[Any]:
    """The values inside tables, lists, tuples and sets."""
    inner = list(value.values()) if isinstance(value, Mapping) else value
    if isinstance(inner, list | tuple | set):
        for item in inner:
            yield from leaves(item)
    else:
        yield value
