"""docs/extending.md says how each kind is added, and every row of every table leads somewhere."""

from pathlib import Path

import pytest

from fedtt.federated.aggregate import AGGREGATIONS
from fedtt.federated.schedules import SCHEDULES
from fedtt.federated.wire.codec import CODECS
from fedtt.methods import METHODS
from fedtt.registry import Registry
from fedtt.task_kinds import TASK_KINDS
from fedtt.trackers import TRACKERS

PAGE = Path("docs/extending.md").read_text(encoding="utf-8")
TOYS = sorted(path.stem.removeprefix("toy_") for path in Path("tests/extending").glob("toy_*.py"))
TABLES: dict[str, Registry] = {
    "AGGREGATIONS": AGGREGATIONS,
    "CODECS": CODECS,
    "METHODS": METHODS,
    "SCHEDULES": SCHEDULES,
    "TASK_KINDS": TASK_KINDS,
    "TRACKERS": TRACKERS,
}


@pytest.mark.parametrize("kind", TOYS)
def test_the_page_has_a_heading_for_every_toy(kind: str) -> None:
    headings = [line for line in PAGE.splitlines() if line.startswith("## To add")]
    assert any(kind in heading for heading in headings)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_on_the_page_and_every_row_leads_somewhere(name: str) -> None:
    assert f"{name}`" in PAGE
    table = TABLES[name]
    assert all(table[row] is not None for row in table)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_its_group_of_entry_points_on_the_page(name: str) -> None:
    assert f"| `fedtt.{name.lower()}` | " in PAGE
