"""``fedtt data list``: the sources that ``[data]`` can name."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from rich.table import Table

from fedtt.cli.console import console, print_json


@dataclass(frozen=True, kw_only=True)
class _Source:
    name: str
    about: str
    kind: str
    metrics: tuple[str, ...]
    label_names: tuple[str, ...]
    test_split: str | None = None
    hub_id: str | None = None
    hub_config: str | None = None
    package: str | None = None

    @property
    def origin(self) -> str:
        parts = (self.hub_id, self.hub_config)
        return "/".join(part for part in parts if part) or f"PyPI: {self.package}"


def list_command(*, as_json: bool) -> None:
    """Print every source: what it is, how it is judged, where it comes from."""
    sources = list(_sources())
    if as_json:
        print_json({"sources": [asdict(source) for source in sources]})
        return
    table = Table()
    for column in ("source", "what", "metric", "classes", "from"):
        table.add_column(column, justify="right" if column == "classes" else "left")
    for source in sources:
        classes = str(len(source.label_names)) if source.kind == "classification" else "-"
        metrics = ", ".join(source.metrics)
        table.add_row(source.name, source.about, metrics, classes, source.origin)
    console().print(table)


def _sources() -> Iterator[_Source]:
    from fedtt.data import SILOS, TASKS
    from fedtt.data.silos import ABOUT, LABEL_NAMES, REQUIREMENT

    yield _Source(
        name=SILOS,
        about=ABOUT,
        kind="classification",
        metrics=("accuracy",),
        label_names=LABEL_NAMES,
        package=REQUIREMENT,
    )
    for task in TASKS.values():
        yield _Source(
            name=task.name,
            about=task.about,
            kind=task.kind,
            metrics=task.metrics,
            label_names=task.label_names,
            test_split=task.test_split,
            hub_id=task.hub_id,
            hub_config=task.hub_config,
        )
