"""What a report shows is what the files of the run hold, and nothing that they hold is run."""

import html
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.report.made_runs import made_run, record

from fedtt.cli.report_command import leave_report, report_command
from fedtt.config import RunConfig
from fedtt.errors import FedttError, RunError
from fedtt.report.blocks import Chart, Page
from fedtt.report.client_sections import trained_section
from fedtt.report.drawing_code import MissingReportError
from fedtt.report.pages import page_of_runs
from fedtt.report.render import render
from fedtt.report.run_view import view_run
from fedtt.report.series import MOST_POINTS
from fedtt.report.write_report import write_report

MakeConfig = Callable[..., RunConfig]
CLIENTS = ["north", "south"]
HOSTILE = "</script><img src=x onerror=alert(1)>{{ 7 * 7 }}'\"&"


@pytest.fixture(autouse=True)
def _no_drawing_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same for every page; the test in the browser has it."""
    monkeypatch.setattr("fedtt.report.render.drawing_code", lambda: "window.vegaEmbed = null;")


@pytest.fixture
def run(make_config: MakeConfig, tmp_path: Path) -> Path:
    rounds = [record(i, clients=CLIENTS, validation=0.5 + i / 10) for i in range(4)]
    rounds[1] = record(1, clients=CLIENTS)  # not validated
    return made_run(
        tmp_path / "run",
        make_config(rounds=4),
        rounds=rounds,
        test={"north": 0.9, "south": 0.7},
        alone={"north": 0.5, "south": 0.72},
        before={"north": 0.5, "south": 0.5},
        sizes={"north": 100, "south": 80},
    )


class Read(HTMLParser):
    """Tags, texts, and what the page would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.loads += [v for k, v in attrs if k in {"src", "href", "action", "data"} and v]
        self.ids += [found["id"]] if found.get("id") else []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def charts_of(page: Page) -> dict[str, Chart]:
    return {chart.key: chart for section in page.sections for chart in section.charts}


def values_of(chart: Chart) -> list[dict[str, Any]]:
    return chart.spec["data"]["values"]


def test_the_points_are_those_of_the_file(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    charts = charts_of(page_of_runs([run]))
    measured = [line for line in lines if line["validation"]]
    score = [(row["x"], row["y"]) for row in values_of(charts["runs-score-rounds"])]
    assert score == [(r["round"] + 1, r["validation"]["accuracy"]["mean"]) for r in measured]
    loss = [(row["x"], row["y"]) for row in values_of(charts["runs-loss-bytes"])]
    assert loss == [(300.0 * (line["round"] + 1), line["loss"]) for line in lines]
    gains = {row["c"]: row["x"] for row in values_of(charts["runs-0-gain-alone"])}
    assert gains == {"north": pytest.approx(0.4), "south": pytest.approx(-0.02)}
    shares = {(row["c"], row["w"]): row["x"] for row in values_of(charts["runs-labels"])}
    assert shares["north", "good"] == 0.75


def test_seeds_are_one_line_with_a_band(make_config: MakeConfig, tmp_path: Path) -> None:
    def seed(number: int, scores: list[float], **changes: Any) -> Path:
        rounds = [record(i, clients=CLIENTS, validation=s) for i, s in enumerate(scores)]
        place = tmp_path / f"{number}{changes}".replace("'", "").replace(" ", "")
        return made_run(place, make_config(seed=number, **changes), rounds=rounds)

    lora = {"method": {"name": "lora"}}
    paths = [seed(0, [0.5, 0.6]), seed(1, [0.7, 0.9]), seed(0, [0.1, 0.2], **lora)]
    page = page_of_runs(paths)
    rows = values_of(charts_of(page)["runs-score-rounds"])
    first = [row for row in rows if row["s"].startswith("fedtt")]
    assert [(row["y"], row["lo"], row["hi"]) for row in first] == [
        (pytest.approx(0.6), 0.5, 0.7),
        (pytest.approx(0.75), 0.6, 0.9),
    ]
    assert len(page.looks) == 2
    assert len({(look.color, look.shape) for look in page.looks}) == 2


def test_nothing_that_a_file_holds_is_run(make_config: MakeConfig, tmp_path: Path) -> None:
    names = [HOSTILE, "plain"]
    scores = dict(zip(names, (0.9, 0.7), strict=True))
    path = made_run(
        tmp_path / "run",
        make_config(),
        rounds=[record(0, clients=names, validation=0.5)],
        test=scores,
        alone=dict.fromkeys(names, 0.5),
        sizes=dict.fromkeys(names, 50),
        environment={HOSTILE: HOSTILE},
        left_out={HOSTILE: HOSTILE},
    )
    text = render(page_of_runs([path]))
    page = Read(text)
    assert page.tags.count("script") == 3
    assert text.count("</script") == 3
    assert "img" not in page.tags
    assert HOSTILE in page.texts  # as text, whole
    embedded = re.search(r'id="specs">(.*?)</script>', text, re.DOTALL)
    assert embedded
    assert HOSTILE in json.dumps(json.loads(embedded[1]), ensure_ascii=False).replace('\\"', '"')


def test_it_fetches_nothing(run: Path) -> None:
    text = render(page_of_runs([run]))
    page = Read(text)
    assert all(load.startswith(("#", "data:")) for load in page.loads)
    assert "default-src 'none'" in html.unescape(text)
    assert "unsafe-eval" not in text
    named = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert named == {
        "https://vega.github.io/schema/vega-lite/v6.json",  # names, not places
        "http://www.w3.org/2000/svg",
    }
    assert "url(" not in text
    assert len(page.ids) == len(set(page.ids))


def test_headings_go_in_order_and_every_chart_has_words_and_a_table(run: Path) -> None:
    text = render(page_of_runs([run]))
    levels = [int(tag[1]) for tag in Read(text).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert text.count('role="img" aria-label="') == text.count("<figure ") > 5
    assert text.count("<table>") > text.count("<figure ")


PRIVATE = {"epsilon": 1.5, "delta": 1e-5, "noise_multiplier": 1.0, "clipping_norm": 0.5}
MISSING: dict[str, dict[str, Any]] = {
    "no round": {"rounds": [], "ended": False},
    "no data, not ended": {"rounds": [record(0, clients=CLIENTS)], "ended": False},
    "no test": {"rounds": [record(0, clients=CLIENTS, validation=0.5)]},
    "nothing alone": {"rounds": [record(0, clients=CLIENTS)], "test": {"north": 0.9, "south": 0.7}},
    "one test set for all": {
        "rounds": [record(0, clients=CLIENTS)],
        "test": {"all": 0.8},
        "alone": {"north": 0.5, "south": 0.7},
        "sizes": {"all": 50},
    },
    "private": {
        "rounds": [
            record(i, clients=["0", "1"], loss=None, privacy={**PRIVATE, "epsilon": i + 1.0})
            for i in range(2)
        ],
        "privacy": {**PRIVATE, "level": "client", "neighbors": "add or remove", "stopped": None},
    },
    "nobody came": {"rounds": [record(0, clients=[], loss=None, unused="too few")]},
}
SAID = {
    "no round": "has not ended: 0 of 3 rounds",
    "no data, not ended": "has not ended: 1 of 3 rounds",
    "no test": "The test split was not looked at",
    "nothing alone": "than each client trained alone was not measured",
    "one test set for all": "0.800, of one test set",
    "private": "epsilon 1.500 at delta 1e-05",
    "nobody came": "the updates of round 1 were not used",
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_said(case: str, make_config: MakeConfig, tmp_path: Path) -> None:
    path = made_run(tmp_path / "run", make_config(), **MISSING[case])
    text = render(page_of_runs([path]))
    assert SAID[case] in text.replace("&#39;", "'")
    assert "NaN" not in text.split("<script")[1]


def test_privacy_is_shown_by_round(make_config: MakeConfig, tmp_path: Path) -> None:
    path = made_run(tmp_path / "run", make_config(), **MISSING["private"])
    chart = charts_of(page_of_runs([path]))["runs-privacy"]
    assert [(row["x"], row["y"]) for row in values_of(chart)] == [(1, 1.0), (2, 2.0)]


DP = {
    "server": {"weighting": "uniform"},
    "privacy": {"client": {"clipping_norm": 0.1, "noise_multiplier": 1.0, "delta": 1e-2}},
}


def test_a_private_run_is_known_by_its_settings(make_config: MakeConfig, tmp_path: Path) -> None:
    """Of an older one, that kept the labels of clients, too."""
    path = made_run(
        tmp_path / "run", make_config(**DP), rounds=[], sizes={"north": 9, "south": 9}, ended=False
    )
    page = page_of_runs([path])
    assert "runs-labels" not in charts_of(page)
    (said,) = (section.sentences for section in page.sections if section.key == "runs-privacy")
    assert "no round has said yet what privacy it spent" in " ".join(said)


def test_gains_are_better_where_they_are_positive(make_config: MakeConfig, tmp_path: Path) -> None:
    path = made_run(
        tmp_path / "run",
        make_config(),
        rounds=[record(0, clients=CLIENTS)],
        test=dict.fromkeys(CLIENTS, 0.4),
        alone=dict.fromkeys(CLIENTS, 0.6),
        score={"name": "accuracy", "higher_is_better": False},
    )
    chart = charts_of(page_of_runs([path]))["runs-0-gain-alone"]
    assert [row["x"] for row in values_of(chart)] == [pytest.approx(0.2)] * 2
    assert "gain in test accuracy, positive is better" in json.dumps(chart.spec)
    assert "over the seeds" not in chart.words  # there is one


def test_only_like_runs_are_ranked(make_config: MakeConfig, tmp_path: Path) -> None:
    def run_of(name: str, *, digest: str = "", score: str = "accuracy", **changes: Any) -> Path:
        return made_run(
            tmp_path / name,
            make_config(**changes),
            rounds=[record(0, clients=CLIENTS)],
            test={"north": 0.9, "south": 0.7},
            sizes={"north": 100, "south": 80},
            digests={"test": digest, "base_model": name} if digest else None,
            score={"name": score, "higher_is_better": score == "accuracy"},
        )

    lora, skewed = {"method": {"name": "lora"}}, {"partition": {"kind": "iid", "clients": 2}}
    here, other = run_of("here", digest="1"), run_of("other", **lora)
    moved = run_of("moved", digest="1", **skewed, method={"name": "ffa-lora"})
    elsewhere = run_of("elsewhere", digest="2", **skewed)
    loss = run_of("loss", score="loss", seed=5)
    page = page_of_runs([here, other, elsewhere])
    assert any("partition" in s or "kind iid" in s for s in page.answer)
    assert {s.key for s in page.sections} >= {"runs0-progress", "runs1-progress"}
    assert not any(s.startswith("Best") for s in page.answer)
    assert sum("Best test accuracy" in s for s in page.answer) == 1
    assert "runs-progress" in {s.key for s in page_of_runs([here, moved]).sections}
    assert {s.key for s in page_of_runs([here, loss]).sections} >= {"runs1-progress"}
    assert render(page)


def test_a_seed_counts_once(make_config: MakeConfig, tmp_path: Path) -> None:
    def run_of(name: str, score: float, *, ended: bool = True) -> Path:
        scores = dict.fromkeys(CLIENTS, score)
        return made_run(tmp_path / name, make_config(), rounds=[], test=scores, ended=ended)

    paths = [run_of("x", 0.5), run_of("x-2", 0.6), run_of("x-3", 0.7, ended=False)]
    for age, path in enumerate(paths):
        for file in path.iterdir():
            os.utime(file, (1000 + age, 1000 + age))
    page = page_of_runs(paths)
    assert page.title == "x-2"
    assert page.answer[0].startswith("The federated model's test accuracy is 0.600")
    (notes,) = (section.lines for section in page.sections if section.key == "notes")
    left = [note for note in notes if "is not shown" in note]
    assert [note.split(" is not")[0] for note in left] == [str(paths[0]), str(paths[2])]


def test_a_damaged_run_of_a_directory_is_left_out(run: Path) -> None:
    broken = run.parent / "broken"
    shutil.copytree(run, broken)
    (broken / "summary.json").write_text("{")
    text = write_report([run.parent]).read_text()
    assert "A run is left out" in text
    assert "0.800" in text
    with pytest.raises(RunError, match="broken"):
        write_report([broken])
    shutil.rmtree(run)
    with pytest.raises(RunError, match="broken"):
        write_report([broken.parent])
    with pytest.raises(RunError, match="no run to report on"):
        write_report([])


@pytest.mark.parametrize(
    ("schedule", "said"), [("all", "Everything that is exchanged"), ("mine", "'mine' chose")]
)
def test_only_all_trains_everything(run: Path, schedule: str, said: str) -> None:
    view = view_run(run)
    view.settings["method.schedule"] = schedule
    assert said in " ".join(trained_section(view, key="k").sentences)


def test_drawing_code_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vl_convert")
    from fedtt.report import drawing_code

    def too_long(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("python", drawing_code.SECONDS)

    monkeypatch.undo()
    monkeypatch.setattr(drawing_code, "_kept", lambda _place: None)
    monkeypatch.setattr(drawing_code.subprocess, "run", too_long)
    drawing_code.drawing_code.cache_clear()
    with pytest.raises(FedttError, match="could not be made"):
        drawing_code.drawing_code()


def test_ten_thousand_rounds_stay_bounded(make_config: MakeConfig, tmp_path: Path) -> None:
    rounds = [record(i, clients=["a"], validation=0.5) for i in range(10_000)]
    page = page_of_runs([made_run(tmp_path / "run", make_config(rounds=10_000), rounds=rounds)])
    rows = values_of(charts_of(page)["runs-loss-rounds"])
    assert len(rows) <= MOST_POINTS
    assert (rows[0]["x"], rows[-1]["x"]) == (1, 10_000)
    assert len(render(page)) < 1_000_000


def test_it_lies_in_the_run_and_replaces_no_other_file(run: Path) -> None:
    assert write_report([run]) == run / "report.html"
    assert write_report([run]).read_text().startswith("<!doctype html>")
    (run / "mine.html").write_text("mine")
    with pytest.raises(RunError, match="a file that is no report lies there"):
        report_command([run], out=run / "mine.html", as_json=False)
    assert (run / "mine.html").read_text() == "mine"
    with pytest.raises(RunError, match="no run here"):
        report_command([run / "nothing"], out=None, as_json=False)


@pytest.fixture
def _without_the_extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from fedtt.report import drawing_code

    monkeypatch.undo()
    drawing_code.drawing_code.cache_clear()
    monkeypatch.setattr("fedtt.extras.find_spec", lambda _name: None)
    yield
    drawing_code.drawing_code.cache_clear()


@pytest.mark.usefixtures("_without_the_extra")
def test_without_the_extra_one_line_says_how_to_get_it(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_report(run, silent=False)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "pip install 'fedtt[report]'" in said
    assert not (run / "report.html").exists()
    with pytest.raises(MissingReportError, match="what draws the report is not installed"):
        report_command([run], out=None, as_json=False)


def test_a_report_that_fails_ends_no_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "data.json").write_text("damaged")
    leave_report(run, silent=False)
    assert "no report was written" in capsys.readouterr().err
