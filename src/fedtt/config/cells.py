"""From a comparison to the complete configuration of every run that it needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedtt.config.compare import Comparison, MethodVariantConfig, OptionConfig, Point
from fedtt.config.overrides import Table, set_key
from fedtt.config.parse import parse_config
from fedtt.config.schema import RunConfig
from fedtt.errors import ConfigError
from fedtt.model_place import check_model_place

NO_OPTION = OptionConfig(name="plain")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the comparison, by the names of its axes' values."""

    setting: str
    option: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.setting} / {self.option} / {self.method} / seed {self.seed}"


def all_cells(comparison: Comparison) -> tuple[Cell, ...]:
    """Every cell, seeds outermost: stopped half-way, every method has had the same seeds."""
    compare = comparison.compare
    return tuple(
        Cell(setting=setting.name, option=option.name, method=method.name, seed=seed)
        for seed in compare.seeds
        for setting in compare.settings
        for option in options_of(comparison)
        if option.is_in(setting.name)
        for method in compare.methods
    )


def options_of(comparison: Comparison) -> tuple[OptionConfig, ...]:
    """The options; one that changes nothing where the file has none."""
    return comparison.compare.options or (NO_OPTION,)


def tuning_cell(comparison: Comparison, method: MethodVariantConfig) -> Cell:
    """Where that method's hyper-parameters are chosen."""
    compare = comparison.compare
    setting = compare.tune_setting or compare.settings[0].name
    first = next(option for option in options_of(comparison) if option.is_in(setting))
    return Cell(
        setting=setting,
        option=compare.tune_option or first.name,
        method=method.name,
        seed=compare.tune_seed,
    )


def cell_config(comparison: Comparison, cell: Cell, point: Point) -> RunConfig:
    """The run of a cell with those hyper-parameters; no clients alone unless the base asks.

    Raises :class:`ConfigError` naming the cell.
    """
    return _config(comparison, cell, point, label="cell", fixed={})


def tuning_config(comparison: Comparison, method: MethodVariantConfig, point: Point) -> RunConfig:
    """A run of the grid: it never looks at the test split. Raises like :func:`cell_config`."""
    fixed = {"evaluation.test": False, "evaluation.alone": False}
    cell = tuning_cell(comparison, method)
    return _config(comparison, cell, point, label="tuning", fixed=fixed)


def check_cells(comparison: Comparison) -> None:
    """Raise :class:`ConfigError` unless every run that the comparison can need is valid.

    Raises :class:`ModelError` for a model's path where nothing is.
    """
    models = {
        config.model.name
        for method in comparison.compare.methods
        for point in method.points
        for config in _configs(comparison, method, point)
    }
    for name in sorted(models):
        check_model_place(name)


def is_valid_point(comparison: Comparison, method: MethodVariantConfig, point: Point) -> bool:
    """Whether every run of the method with that point is valid: a number may be out of bounds."""
    try:
        list(_configs(comparison, method, point))
    except ConfigError:
        return False
    return True


def _configs(
    comparison: Comparison, method: MethodVariantConfig, point: Point
) -> Iterator[RunConfig]:
    """Of every run of the method with that point."""
    yield tuning_config(comparison, method, point)
    for cell in all_cells(comparison):
        if cell.method == method.name:
            yield cell_config(comparison, cell, point)


def _config(
    comparison: Comparison, cell: Cell, point: Point, *, label: str, fixed: Mapping[str, Any]
) -> RunConfig:
    where = f"{comparison.where}, {label} {cell}"
    table = comparison.base
    for key, value in _overrides(comparison, cell, point, where=where).items():
        table = set_key(table, key, None if value == "" else value, where=f"{where}, {key}")
    evaluation = table.get("evaluation", {})
    if isinstance(evaluation, dict) and "alone" not in evaluation:
        table = set_key(table, "evaluation.alone", value=False, where=where)
    for key, value in {**fixed, "seed": cell.seed}.items():
        table = set_key(table, key, value, where=where)
    config = parse_config(table, where=where)
    _check_measured(config, where=where, test=fixed.get("evaluation.test", True))
    return config


def _overrides(comparison: Comparison, cell: Cell, point: Point, *, where: str) -> Table:
    """What the cell's setting, option, method and point set; no key may be set by two of them."""
    compare = comparison.compare
    chosen: Iterator[tuple[str, Mapping[str, Any]]] = iter(
        (
            (f"setting {cell.setting!r}", _named(compare.settings, cell.setting).set),
            (f"option {cell.option!r}", _named(options_of(comparison), cell.option).set),
            (f"method {cell.method!r}", _named(compare.methods, cell.method).set),
            (f"the grid of {cell.method!r}", point),
        )
    )
    merged: Table = {}
    owner: dict[str, str] = {"seed": "compare.seeds"}
    for who, overrides in chosen:
        for key, value in overrides.items():
            if key in owner:
                raise ConfigError(
                    "a key is set twice, so the cell would not be what one of its names says",
                    where=where,
                    got=f"{key}: by {owner[key]} and by {who}",
                    fix="let one axis alone set a key",
                )
            owner[key] = who
            merged[key] = value
    return merged


def _named(variants: tuple[Any, ...], name: str) -> Any:
    return next(variant for variant in variants if variant.name == name)


def _check_measured(config: RunConfig, *, where: str, test: bool) -> None:
    if config.evaluation.every == 0 or config.evaluation.test != test:
        raise ConfigError(
            "a comparison is made of validation curves and test scores",
            where=where,
            got=f"evaluation.every = {config.evaluation.every}, "
            f"evaluation.test = {str(config.evaluation.test).lower()}",
            fix="leave evaluation.test out and evaluation.every at 1 or more",
        )
