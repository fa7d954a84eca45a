"""The ``[method]`` section: which class reads it is what the table of methods says of its name."""

from collections.abc import Mapping
from typing import Annotated, NoReturn

from pydantic import BeforeValidator, SerializeAsAny, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from fedtt.methods import METHODS, MethodSection, method_entry


def method_sections() -> tuple[type[MethodSection], ...]:
    """Every class that a ``[method]`` section can be, once."""
    return tuple(dict.fromkeys(METHODS[name].section for name in METHODS))


def _by_name(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    name = value.get("name")
    try:
        entry = method_entry(str(name))
    except ValueError as error:
        _refuse_name(name, str(error) if name is not None else f"one of {', '.join(METHODS)}")
    return entry.section.model_validate(value)


def _refuse_name(name: object, reason: str) -> NoReturn:
    # In braces, so that what somebody calls a method is no template.
    error = PydanticCustomError("unknown_method", "{reason}", {"reason": reason})
    details = InitErrorDetails(type=error, loc=("name",), input=name)
    raise ValidationError.from_exception_data("method", [details])


MethodConfig = Annotated[SerializeAsAny[MethodSection], BeforeValidator(_by_name)]
