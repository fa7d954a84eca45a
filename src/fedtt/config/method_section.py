"""The ``[method]`` section: which class reads it is what the table of methods says of its name."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, SerializeAsAny

from fedtt.methods import METHODS, MethodSection, method_entry


def method_sections() -> tuple[type[MethodSection], ...]:
    """Every class that a ``[method]`` section can be, once."""
    return tuple(dict.fromkeys(entry.section for entry in METHODS.values()))


def _known(name: str) -> str:
    method_entry(name)
    return name


class _Named(BaseModel):
    """The one key that every section has, checked before the others are read."""

    name: Annotated[str, AfterValidator(_known)]


def _by_name(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    name = _Named.model_validate(value).name
    return method_entry(name).section.model_validate(value)


MethodConfig = Annotated[SerializeAsAny[MethodSection], BeforeValidator(_by_name)]
