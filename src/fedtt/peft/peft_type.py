"""The names of our adapters among PEFT's methods.

``PeftType`` is a closed enumeration and ``register_peft_method`` takes only its members, so the
members are added when this module is imported.
"""

from enum import Enum
from typing import Any

from peft.utils.peft_types import PeftType


def extend_string_enum(enum_class: type[Enum], name: str) -> Any:
    """The member ``name`` (value ``name``) of a ``(str, Enum)`` class, added where it is missing.

    Changes ``enum_class``. The new member compares, hashes, copies and pickles like the others
    (Python 3.11 to 3.13); calling again returns the same object.
    """
    if name in enum_class.__members__:
        return enum_class[name]
    member = str.__new__(enum_class, name)  # type: ignore[type-var]
    member._name_ = name
    member._value_ = name
    member.__objclass__ = enum_class  # type: ignore[attr-defined]
    member._sort_order_ = len(enum_class.__members__)  # type: ignore[attr-defined]
    # The attribute before the maps: Enum refuses to set the attribute of a member it knows.
    setattr(enum_class, name, member)
    enum_class._member_names_.append(name)
    enum_class._member_map_[name] = member
    enum_class._value2member_map_[name] = member
    # Later Python 3.13 versions answer `value in enum_class` from this list.
    hashable_values = getattr(enum_class, "_hashable_values_", None)
    if hashable_values is not None:
        hashable_values.append(name)
    return member


def peft_type(name: str) -> Any:
    """The member ``name`` of PEFT's types, added where it is missing."""
    return extend_string_enum(PeftType, name)
