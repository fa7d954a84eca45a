"""The ``[sites]`` section of a configuration."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from fedtt.section import Clients, Seconds, Section

SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class SitesConfig(Section):
    """``[sites]``: machines that each hold one client's data; for ``fedtt serve``."""

    names: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None,
        description="every site that may join, each one client, in a fixed order; letters, "
        "digits, `-` and `_`",
    )
    min_replies: Clients | None = Field(
        None,
        description="a round counts with so many clients' replies; with fewer it is tried again, "
        "three times in all; left out: half of those called",
    )
    deadline: Seconds = Field(
        600.0, description="seconds for a round; who has not answered by then is left out of it"
    )
    patience: Seconds = Field(
        600.0,
        description="seconds to wait for sites: at the start of `fedtt serve` for all of them, "
        "later for as many as a round needs",
    )

    @field_validator("names")
    @classmethod
    def _names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if not SITE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no site's name: at most 63 letters, digits, - and _")
        if names is not None and len(set(names)) < len(names):
            raise ValueError("two sites have the same name")
        return names
