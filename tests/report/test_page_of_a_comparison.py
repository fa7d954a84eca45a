"""The page of a comparison says what its tables say, as far as it has come."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from tests.report.made_runs import made_run, record

from fedtt.config import RunConfig, all_cells, cell_config, dump_comparison, load_comparison
from fedtt.errors import RunError
from fedtt.experiment.comparison.layout import cell_path
from fedtt.report.comparison_page import page_of_comparison
from fedtt.report.write_report import write_report

SCORES = {("fedtt", 0): 0.7, ("fedtt", 1): 0.74, ("lora", 0): 0.8}  # lora's second seed is to come
METHODS = [
    {"name": "lora", "set": {"method.name": "lora", "method.rank": 4}},
    {"name": "fedtt", "set": {"method": {"name": "fedtt", "rank": 2, "bottleneck": 8}}},
]


@pytest.fixture
def comparison(make_config: Callable[..., RunConfig], tmp_path: Path) -> Path:
    table = make_config().model_dump(mode="json", exclude_none=True, exclude={"method", "seed"})
    compare = {"seeds": [0, 1], "settings": [{"name": "all"}], "methods": METHODS}
    file = tmp_path / "compare.toml"
    file.write_text(tomli_w.dumps({**table, "compare": compare}))
    loaded, out = load_comparison(file), tmp_path / "out"
    out.mkdir()
    (out / "compare.toml").write_text(dump_comparison(loaded))
    for cell in all_cells(loaded):
        if (cell.method, cell.seed) in SCORES:
            made_run(
                cell_path(out, cell),
                cell_config(loaded, cell, {}),
                rounds=[record(i, clients=["north"], validation=0.5) for i in range(3)],
                test={"north": SCORES[cell.method, cell.seed]},
                sizes={"north": 10_000},
            )
    return out


def contents(place: Path) -> dict[str, str]:
    files = (path for path in place.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_it_shows_what_there_is_and_changes_nothing(comparison: Path) -> None:
    before = contents(comparison)
    page = page_of_comparison(comparison)
    assert contents(comparison) == before
    assert page.subtitle.startswith("a comparison: 3 of 4 runs done")
    assert page.answer[0] == "Best test accuracy: lora, 0.800."
    assert page.answer[1] == "Worse beyond noise: fedtt (by 0.100)."  # of the one common seed
    (table,) = (section for section in page.sections if section.key == "tables")
    assert [row[1] for row in table.tables[0].rows] == ["0.800", "0.720 ± 0.028"]
    charts = {chart.key: chart for section in page.sections for chart in section.charts}
    (difference,) = charts["group0-difference"].spec["data"]["values"]
    assert difference["c"] == "fedtt"
    assert difference["x"] == pytest.approx(-0.1)
    assert len(charts["group0-loss-rounds"].spec["data"]["values"]) == 6


def test_where_no_interval_is_known_none_is_claimed(comparison: Path) -> None:
    for file in comparison.rglob("data.json"):
        file.unlink()  # and with it the sizes of the test sets
    page = page_of_comparison(comparison)
    (chart,) = (c for s in page.sections for c in s.charts if c.key == "group0-difference")
    assert "how far it may be off is not known" in chart.words
    assert "95 %" not in chart.words


def test_the_one_that_is_done_is_told(comparison: Path) -> None:
    for file in comparison.rglob("summary.json"):
        if "/fedtt/" in str(file):
            file.unlink()
    (said,) = page_of_comparison(comparison).answer
    assert said.startswith("Test accuracy of lora: 0.800.")


def test_it_lies_in_the_comparison_and_goes_with_no_run(
    comparison: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtt.report.render.drawing_code", lambda: "window.vegaEmbed = null;")
    assert write_report([comparison]) == comparison / "report.html"
    with pytest.raises(RunError, match="a comparison has a report of its own"):
        write_report([comparison, comparison])
