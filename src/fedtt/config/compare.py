"""``[compare]``: methods x settings x options x seeds, read from the file that holds the base run.

The file is a run's, without ``[method]`` and ``seed``; every axis overrides keys of it.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import tomli_w
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from fedtt.config.extended_file import COMPARE, OF_A_RUN
from fedtt.config.overrides import Table, flatten
from fedtt.config.parse import read_table
from fedtt.config.problems import describe_problem
from fedtt.errors import ConfigError
from fedtt.section import NumBytes, Positive, Section, Seed, Strength

Point = dict[str, Any]  # dotted key -> value, one choice of hyper-parameters
SAFE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 ._+=,%()@-]{0,62}[A-Za-z0-9+%)])?")


def _name(value: str) -> str:
    if not SAFE_NAME.fullmatch(value):
        raise ValueError(
            "a name is also a directory: 1 to 64 letters, digits, spaces and ._+=,%()@- , starting "
            "with a letter or digit"
        )
    return value


def _flat(table: Any) -> Any:
    """TOML reads an unquoted dotted key as tables."""
    return flatten(table) if isinstance(table, Mapping) else table


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Name = Annotated[str, Field(description="heads its row, and names its directory")]
Overrides = Annotated[dict[str, Any], BeforeValidator(_flat)]
Target = Positive


class VariantConfig(Section):
    """One value of an axis: a name and the keys it sets, written like those of ``--set``."""

    name: Name
    set: Overrides = Field(default={}, description='dotted key -> value; "" unsets the key')

    _safe = field_validator("name")(_name)


class OptionConfig(VariantConfig):
    """An option, in every setting or in some."""

    settings: Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(
        None, description="the settings it is run in; left out: all"
    )

    def is_in(self, setting: str) -> bool:
        """Whether it is run in that setting."""
        return self.settings is None or setting in self.settings


class MethodVariantConfig(VariantConfig):
    """A method: ``set`` names it (``method.name``); ``grid`` lists values to choose from."""

    grid: Annotated[dict[str, tuple[Any, ...]], BeforeValidator(_flat)] = Field(
        default={}, description="dotted key -> values; their product is tried"
    )

    @model_validator(mode="after")
    def _grid_has_values(self) -> Self:
        empty = [key for key, values in self.grid.items() if not values]
        if empty:
            raise ValueError(f"the grid has no value for {', '.join(empty)}")
        return self

    @property
    def points(self) -> tuple[Point, ...]:
        """The cartesian product of the grid, the last key fastest; one empty point without one."""
        return tuple(
            dict(zip(self.grid, values, strict=True))
            for values in itertools.product(*self.grid.values())
        )


class CompareConfig(Section):
    """``[compare]``: the axes, and how the comparison is read."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    settings: Annotated[tuple[VariantConfig, ...], Field(min_length=1)]
    methods: Annotated[tuple[MethodVariantConfig, ...], Field(min_length=1)]
    options: tuple[OptionConfig, ...] = ()
    reference: str | None = Field(None, description="method that differences are taken to")
    target: Annotated[tuple[Target, ...], BeforeValidator(_several)] = ()
    margin: Strength | None = Field(
        None,
        description="one more target: how far below the reference's final validation score, the "
        "mean over its seeds",
    )
    budget: NumBytes | None = Field(
        None, description="uplink bytes of the equal-bytes column; left out: the cheapest method's"
    )
    widen: Annotated[int, Field(ge=0, le=32, strict=True)] = Field(
        0, description="values tried beyond a grid's edge while the choice lies there, a key"
    )
    tune_seed: Seed = 1000
    tune_setting: str | None = None
    tune_option: str | None = None

    @model_validator(mode="after")
    def _axes_hold_together(self) -> Self:
        for axis in ("settings", "methods", "options"):
            _refuse_twins(axis, [variant.name for variant in getattr(self, axis)])
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"a seed is given twice: {list(self.seeds)}")
        if self.tune_seed in self.seeds:
            raise ValueError(f"tune_seed = {self.tune_seed} is one of the seeds; choose another")
        sizes = {method.name: len(method.points) for method in self.methods}
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{name}: {size}" for name, size in sizes.items())
            raise ValueError(f"grids of different size are no fair comparison ({shown} points)")
        for key, axis in (
            ("reference", "methods"),
            ("tune_setting", "settings"),
            ("tune_option", "options"),
        ):
            names = [variant.name for variant in getattr(self, axis)]
            if getattr(self, key) not in (None, *names):
                raise ValueError(f"{key} = {getattr(self, key)!r} is none of: {', '.join(names)}")
        self._check_options([setting.name for setting in self.settings])
        return self

    def _check_options(self, settings: Sequence[str]) -> None:
        for option in self.options:
            for name in set(option.settings or ()) - set(settings):
                known = ", ".join(settings)
                raise ValueError(f"option {option.name!r}: setting {name!r} is none of: {known}")
        bare = [s for s in settings if self.options and not any(o.is_in(s) for o in self.options)]
        if bare:
            raise ValueError(f"no option is run in setting {bare[0]!r}")
        tuned = self.tune_setting or settings[0]
        if any(o.name == self.tune_option and not o.is_in(tuned) for o in self.options):
            raise ValueError(f"tune_option {self.tune_option!r} is not run in setting {tuned!r}")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison as read: ``base`` holds the run's keys, ``where`` the file's name for errors."""

    base: Table
    compare: CompareConfig
    where: str

    @property
    def reference(self) -> str:
        """The method that differences are taken to."""
        return self.compare.reference or self.compare.methods[0].name


def load_comparison(path: Path, *, overrides: Iterable[str] = ()) -> Comparison:
    """The comparison in a TOML file; ``overrides`` change the base run or ``compare.*``.

    Raises :class:`ConfigError` for what is wrong with ``[compare]``; the cells are checked by
    :func:`fedtt.config.cells.check_cells`.
    """
    table = read_table(path, overrides=overrides)
    section = table.pop(COMPARE, None)
    if section is None:
        raise ConfigError(
            "nothing to compare",
            where=str(path),
            expected="a section [compare] with seeds, settings and methods; an empty one takes "
            "that of the comparison that the file extends",
            fix="docs/compare.md has a complete example; fedtt train runs a file without it",
        )
    for key, home in zip(OF_A_RUN, ("[[compare.methods]]", "compare.seeds"), strict=True):
        if key in table:
            raise ConfigError(
                f"{key} has no place in a comparison", where=str(path), fix=f"it is set by {home}"
            )
    try:
        compare = CompareConfig.model_validate(section)
    except ValidationError as error:
        problems = [
            describe_problem(("compare", *item["loc"]), dict(item), known=_KNOWN)
            for item in error.errors()
        ]
        raise ConfigError(
            "the comparison does not hold together:\n" + "\n".join(f"  - {p}" for p in problems),
            where=str(path),
            fix="docs/compare.md lists every key",
        ) from error
    return Comparison(base=table, compare=compare, where=str(path))


def dump_comparison(comparison: Comparison) -> str:
    """The comparison as TOML; paths are absolute."""
    section = comparison.compare.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps({**comparison.base, COMPARE: section})


def _refuse_twins(axis: str, names: list[str]) -> None:
    # Not told apart by case either: some file systems do not.
    folded = [name.casefold() for name in names]
    twins = sorted({name for name in names if folded.count(name.casefold()) > 1})
    if twins:
        raise ValueError(f"{axis} share a name: {', '.join(twins)}")


_KNOWN = {
    "compare": list(CompareConfig.model_fields),
    "compare.settings": list(VariantConfig.model_fields),
    "compare.options": list(OptionConfig.model_fields),
    "compare.methods": list(MethodVariantConfig.model_fields),
}
