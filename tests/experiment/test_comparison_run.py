"""Whole comparisons on a tiny model: nothing is computed twice, nothing is lost, all is on record.

Runs are real; where only the bookkeeping is looked at, one round of one step is enough.
"""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
from tests.experiment import tracked

from fedtt.config import Cell, Comparison, RunConfig, load_comparison
from fedtt.errors import ConfigError, InterruptedRunError, ModelError, RunError
from fedtt.experiment import Evaluated, StepDone, open_run
from fedtt.experiment.comparison import (
    CellEnded,
    CellResult,
    CellStarted,
    CompareEvent,
    Outcome,
    Status,
    run_comparison,
)
from fedtt.experiment.comparison.cell_results import read_result
from fedtt.experiment.comparison.layout import lock_path
from fedtt.experiment.lock import locked_if_free

MakeComparison = Callable[..., Comparison]

FEDTT = {"name": "fedtt", "set": {"method": {"name": "fedtt", "rank": 2, "bottleneck": 8}}}
LORA = {"name": "lora", "set": {"method.name": "lora", "method.rank": 4}}
WILD = {
    "name": "wild",
    "set": {
        "method.name": "lora",
        "client.optimizer": "sgd",
        "client.learning_rate": 1e30,
        "client.max_grad_norm": "",
    },
}
RATE = "client.learning_rate"
BROKEN = {"name": "broken", "set": {"method.name": "lora", "method.target_modules": ["nope"]}}


@pytest.fixture(autouse=True)
def quick_curves(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Pictures are looked at in test_comparison_formats; drawing them takes longer than a cell."""
    if "matplotlib" not in request.node.name:
        drawn = {"png": b"png", "svg": b"svg"}
        for draw in ("draw_curves", "draw_frontier"):
            module = "fedtt.experiment.comparison.comparison_run"
            monkeypatch.setattr(f"{module}.{draw}", lambda _results: drawn)


@pytest.fixture
def make_comparison(make_config: Callable[..., RunConfig], tmp_path: Path) -> MakeComparison:
    """Two methods, one setting, one seed, one round of one step; ``changes`` are of [compare]."""

    def make(*, base: dict | None = None, **changes: object) -> Comparison:
        small = {"rounds": 1, "client": {"steps": 1, "batch_size": 4}}
        config = make_config(**{**small, **(base or {})})
        table = config.model_dump(mode="json", exclude_none=True, exclude={"method", "seed"})
        compare = {
            "seeds": [0],
            "settings": [{"name": "all"}],
            "methods": [FEDTT, LORA],
            **changes,
        }
        path = tmp_path / "compare.toml"
        path.write_text(tomli_w.dumps({**table, "compare": compare}))
        return load_comparison(path)

    return make


def run(comparison: Comparison, out: Path, **options) -> tuple[Outcome, list[CompareEvent]]:
    events: list[CompareEvent] = []
    outcome = run_comparison(comparison, out, notify=events.append, **options)
    return outcome, events


def ran(events: list[CompareEvent]) -> list[str]:
    """What was trained, in order."""
    return [str(event.run) for event in events if isinstance(event, CellEnded)]


def files(out: Path) -> dict[Path, tuple[bytes, int]]:
    """Content and time of change of every file of every run."""
    parts = [out / "cells", out / "tuning"] if (out / "cells").is_dir() else [out]
    paths = [p for part in parts for p in part.rglob("*") if p.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def grid(method: dict, *rates: float) -> dict:
    return {**method, "grid": {"client.learning_rate": list(rates)}}


def test_a_comparison_writes_what_it_should(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome, events = run(make_comparison(seeds=[0, 1]), out)
    assert ran(events) == [
        "all / plain / fedtt / seed 0",
        "all / plain / lora / seed 0",
        "all / plain / fedtt / seed 1",
        "all / plain / lora / seed 1",
    ]
    assert {path.name for path in out.iterdir()} == {
        ".locks",
        "cells",
        "choices.json",
        "compare.toml",
        "curves.png",
        "curves.svg",
        "frontier.png",
        "frontier.svg",
        "results.csv",
        "results.md",
        "results.tex",
    }
    shown = ("curves", "frontier", "results")
    assert set(outcome.files) == {p for p in out.iterdir() if p.name.startswith(shown)}
    cell = out / "cells/all/plain/lora/seed1"
    summary = json.loads((cell / "summary.json").read_text())
    assert (summary["alone"], summary["seed"]) == (None, 1)
    result = next(c for c in outcome.results.cells if c.cell.method == "lora" and c.cell.seed == 1)
    assert result.test["accuracy"] == summary["test"]["accuracy"]["mean"]
    (record,) = open_run(cell).rounds()
    assert result.curve[0].score == record["validation"]["accuracy"]["mean"]
    assert (result.uplink_bytes, result.downlink_bytes) == (
        summary["uplink_bytes"],
        summary["downlink_bytes"],
    )
    assert result.uplink_per_client_round == summary["uplink_bytes"] / 3
    left = [event.rounds_left for event in events if isinstance(event, CellEnded)]
    assert left == [3, 2, 1, 0]


def test_stopped_anywhere_it_goes_on_and_touches_nothing_finished(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    comparison = make_comparison(base={"rounds": 2})
    reference, stopped = tmp_path / "reference", tmp_path / "stopped"
    run(comparison, reference)
    seen: list[CompareEvent] = []

    def stop_in_the_second_cells_second_round() -> bool:
        steps = sum(isinstance(event, StepDone) for event in seen)
        return steps == 2 * 3 + 4  # two rounds of three clients, one round, one client

    with pytest.raises(InterruptedRunError) as caught:
        run_comparison(
            comparison,
            stopped,
            notify=seen.append,
            should_stop=stop_in_the_second_cells_second_round,
        )
    assert "all / plain / lora / seed 0 (2 of 2)" in str(caught.value)
    assert f"fedtt compare {comparison.where} --out {stopped} goes on" in str(caught.value)
    before = files(stopped)
    finished = {path for path in before if "fedtt" in path.parts}
    assert {"summary.json", "rounds.jsonl"} <= {path.name for path in finished}

    follow = {"to": tracked.TENSORBOARD}  # from here on
    outcome, events = run(make_comparison(base={"rounds": 2, "track": follow}), stopped)
    assert ran(events) == ["all / plain / lora / seed 0"]
    if tracked.TENSORBOARD:
        points, _ = tracked.tensorboard(stopped / "cells/all/plain/lora/seed0")
        assert {after for name, after in points if name == "train/loss"} == {1, 2}
    assert sum(isinstance(event, StepDone) for event in events) == 3  # the second round alone
    after = files(stopped)
    assert {path: after[path] for path in finished} == {path: before[path] for path in finished}
    state = "cells/all/plain/lora/seed0/state.safetensors"
    assert (stopped / state).read_bytes() == (reference / state).read_bytes()

    again, events = run(comparison, stopped)
    assert events == []
    assert files(stopped) == after
    assert again.results == outcome.results


def test_a_crash_before_the_first_file_was_whole_is_no_obstacle(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    cell = tmp_path / "out/cells/all/plain/fedtt/seed0"
    comparison = make_comparison()
    run(comparison, tmp_path / "out")
    for path in (p for p in cell.rglob("*") if p.is_file()):
        path.unlink()
    (cell / "adapter").rmdir()
    (cell / ".config.toml.123.tmp").write_text("rounds = ")
    _, events = run(comparison, tmp_path / "out")
    assert ran(events) == ["all / plain / fedtt / seed 0"]


def test_hyper_parameters_are_chosen_without_the_test_split(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    base = {"rounds": 2, "client": {"steps": 8, "batch_size": 16}}
    comparison = make_comparison(methods=[grid(LORA, 0.05, 0.3)], base=base, seeds=[1], tune_seed=0)
    outcome, events = run(comparison, out)
    in_tuning = True
    for event in events:
        if isinstance(event, CellStarted):
            in_tuning = event.run.tuning
        if isinstance(event, Evaluated):
            assert not in_tuning
    for path in (out / "tuning").glob("*/*"):
        summary = json.loads((path / "summary.json").read_text())
        assert (summary["test"], summary["before"], summary["alone"]) == (None, None, None)
        assert not (path / "baselines.json").exists()
        assert summary["seed"] == 0
    recorded = json.loads((out / "choices.json").read_text())["methods"]["lora"]
    scores = {
        candidate["set"]["client.learning_rate"]: candidate["validation_accuracy"]
        for candidate in recorded["candidates"]
    }
    last = open_run(out / "tuning/lora/learning_rate=0.05").rounds()[-1]
    assert scores[0.05] == last["validation"]["accuracy"]["mean"]
    # The higher accuracy is that of a model which gives every text the same answer.
    assert scores[0.3] > scores[0.05]
    assert [c["collapsed"] for c in recorded["candidates"]] == [False, True]
    expected = 0.05
    assert recorded["chosen"] == {"client.learning_rate": expected}
    cell = next(c for c in outcome.results.cells if c.cell.method == "lora")
    assert cell.point == recorded["chosen"]
    config = open_run(out / "cells/all/plain/lora/seed1").config()
    assert config.client.learning_rate == expected
    assert f"- lora: client.learning_rate = {expected}" in (out / "results.md").read_text()

    _, events = run(comparison, out)
    assert events == []


def tuned(events: list[CompareEvent]) -> list[float]:
    return [e.run.point[RATE] for e in events if isinstance(e, CellEnded) and e.run.tuning]


@pytest.fixture
def lower_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation score that falls with the learning rate, and a model that tells apart."""

    def read(path: Path, cell: Cell, point: dict) -> CellResult:
        found = read_result(path, cell, point)
        curve = tuple(replace(at, score=1 - point[RATE], constant=False) for at in found.curve)
        return replace(found, curve=curve)

    monkeypatch.setattr("fedtt.experiment.comparison.comparison_run.read_result", read)


@pytest.mark.usefixtures("lower_is_better")
@pytest.mark.slow
def test_a_grid_is_widened_while_the_choice_lies_at_its_edge(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    methods = [grid(FEDTT, 0.02, 0.04), grid(LORA, 0.1, 0.2)]
    outcome, events = run(make_comparison(methods=methods), out)
    assert tuned(events) == [0.02, 0.04, 0.1, 0.2]
    assert outcome.choices["fedtt"].edges == {RATE: "lowest"}
    finished = files(out / "tuning")

    (out / "cells").rename(tmp_path / "of the narrow grid")
    outcome, events = run(make_comparison(methods=methods, widen=1), out)
    assert tuned(events) == [0.01, 0.05]  # one more for each, the baseline too
    assert outcome.choices["fedtt"].point == {RATE: 0.01}
    assert {path: files(out / "tuning")[path] for path in finished} == finished
    recorded = json.loads((out / "choices.json").read_text())["methods"]["lora"]
    assert recorded["at_the_edge"] == {RATE: "lowest"}
    assert [c["widened"] for c in recorded["candidates"]] == [False, False, True]
    assert (
        "- lora: client.learning_rate = 0.05 (the lowest tried)" in (out / "results.md").read_text()
    )

    _, events = run(make_comparison(methods=methods, widen=1), out)
    assert events == []


@pytest.mark.usefixtures("lower_is_better")
def test_stopped_while_it_widens_a_comparison_goes_on(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    comparison = make_comparison(methods=[grid(FEDTT, 0.02, 0.04)], widen=2)
    seen: list[CompareEvent] = []
    with pytest.raises(InterruptedRunError):
        run_comparison(
            comparison,
            tmp_path / "out",
            notify=seen.append,
            should_stop=lambda: len(tuned(seen)) == 3,
        )
    _, events = run(comparison, tmp_path / "out")
    assert tuned(seen) + tuned(events) == [0.02, 0.04, 0.01, 0.005]


def test_a_collapsed_grid_says_so_and_a_widened_one_is_not_looked_for(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    """So small a rate leaves the model as it is, which gives every text the same answer."""
    comparison = make_comparison(methods=[grid(FEDTT, 1e-12, 1e-11)], widen=1)
    out = tmp_path / "out"
    outcome, events = run(comparison, out)
    assert len(tuned(events)) == 2
    (record,) = open_run(out / "tuning/fedtt/learning_rate=1e-12").rounds()
    assert record["validation"]["constant"]["pooled"] == 1.0
    (cell,) = outcome.results.cells
    assert cell.status is Status.COLLAPSED
    text = (out / "results.md").read_text()
    assert "| fedtt | collapsed |" in text
    assert "- fedtt: none: every run of the grid gives all examples the same answer" in text


def test_a_grid_of_one_point_is_set_without_a_run(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    outcome, events = run(make_comparison(methods=[grid(LORA, 0.03)]), tmp_path / "out")
    assert ran(events) == ["all / plain / lora / seed 0"]
    assert outcome.results.cells[0].point == {"client.learning_rate": 0.03}


def test_changed_cells_are_refused_and_with_overwrite_they_alone_run_again(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(make_comparison(), out)
    before = files(out)
    changed = make_comparison(methods=[FEDTT, {**LORA, "set": {**LORA["set"], "method.alpha": 2}}])
    with pytest.raises(ConfigError) as caught:
        run(changed, out)
    assert "all / plain / lora / seed 0: the directory holds another run" in str(caught.value)
    assert "method.alpha: 16.0 -> 2.0" in str(caught.value)
    assert files(out) == before

    _, events = run(changed, out, overwrite=True)
    assert ran(events) == ["all / plain / lora / seed 0"]
    after = files(out)
    assert all(after[path] == before[path] for path in before if "fedtt" in path.parts)
    _, events = run(changed, out)
    assert events == []


def test_a_new_seed_or_method_runs_alone(make_comparison: MakeComparison, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(make_comparison(methods=[LORA]), out)
    outcome, events = run(make_comparison(seeds=[0, 5]), out)
    assert ran(events) == [
        "all / plain / fedtt / seed 0",
        "all / plain / fedtt / seed 5",
        "all / plain / lora / seed 5",
    ]
    assert all(cell.done for cell in outcome.results.cells)


def test_a_diverged_cell_is_an_outcome(make_comparison: MakeComparison, tmp_path: Path) -> None:
    out = tmp_path / "out"
    comparison = make_comparison(
        methods=[WILD, LORA], base={"client": {"steps": 3}}, reference="lora"
    )
    outcome, events = run(comparison, out)
    assert len(ran(events)) == 2
    wild, lora = outcome.results.cells
    assert (wild.status, lora.status) == (Status.DIVERGED, Status.DONE)
    assert "where: round 0, client " in wild.error
    assert "| wild | diverged |" in (out / "results.md").read_text()
    _, events = run(comparison, out)
    assert events == []


def test_where_the_whole_grid_diverges_the_cells_count_as_diverged(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    settings = {k: v for k, v in WILD["set"].items() if k != "client.learning_rate"}
    wild = grid({"name": "wild", "set": settings}, 1e30, 1e31)
    comparison = make_comparison(methods=[wild], base={"client": {"steps": 3}})
    outcome, events = run(comparison, tmp_path / "out")
    assert [event.run.tuning for event in events if isinstance(event, CellEnded)] == [True, True]
    (cell,) = outcome.results.cells
    assert cell.status is Status.DIVERGED
    assert cell.error == "no choice of hyper-parameters: a run of the grid is diverged"
    assert outcome.choices["wild"].record()["chosen"] is None


def test_a_run_that_cannot_start_is_noted_and_tried_again(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome, _ = run(make_comparison(methods=[LORA, BROKEN]), out)
    lora, broken = outcome.results.cells
    assert (lora.status, broken.status) == (Status.DONE, Status.FAILED)
    assert "nope" in broken.error
    mended = {**BROKEN, "set": {"method.name": "lora"}}
    outcome, events = run(make_comparison(methods=[LORA, mended]), out)
    assert ran(events) == ["all / plain / broken / seed 0"]
    assert all(cell.done for cell in outcome.results.cells)
    assert not (out / "cells/all/plain/broken/seed0/failure.json").exists()


def test_if_it_is_the_first_thing_to_happen_the_error_is_raised(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, ModelError), match="nope"):
        run(make_comparison(methods=[BROKEN, LORA]), tmp_path / "out")
    assert not (tmp_path / "out/cells").exists()


def test_a_directory_of_something_else_is_refused(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    with pytest.raises(RunError, match="holds no comparison"):
        run(make_comparison(), tmp_path / "thesis")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_a_damaged_summary_says_which(make_comparison: MakeComparison, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(make_comparison(methods=[LORA]), out)
    summary = out / "cells/all/plain/lora/seed0/summary.json"
    summary.write_text("{")
    with pytest.raises(RunError, match=f"delete {summary.parent}; it is run again"):
        run(make_comparison(methods=[LORA]), out)


def test_without_matplotlib_all_but_the_picture_is_there(
    make_comparison: MakeComparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome, _ = run(make_comparison(methods=[LORA]), tmp_path / "out")
    assert [path.name for path in outcome.files] == ["results.csv", "results.md", "results.tex"]
    assert "pip install 'fedtt[report]'" in outcome.notes[0]


def test_a_run_of_another_process_is_waited_for_and_taken_over_if_that_process_stops(
    make_comparison: MakeComparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtt.experiment.comparison.comparison_run.POLL_SECONDS", 0.05)
    comparison, out = make_comparison(), tmp_path / "out"
    out.mkdir()
    (out / "compare.toml").touch()
    first = out / "cells" / "all" / "plain" / "fedtt" / "seed0"
    asked: list[None] = []

    with ExitStack() as other:
        assert other.enter_context(locked_if_free(lock_path(out, first)))

        def let_go() -> bool:
            """Asked after every step, and while waiting."""
            asked.append(None)
            if len(asked) == 20:
                other.close()
            return False

        outcome, events = run(comparison, out, should_stop=let_go)
    assert ran(events) == ["all / plain / lora / seed 0", "all / plain / fedtt / seed 0"]
    assert [cell.status for cell in outcome.results.cells] == [Status.DONE, Status.DONE]


def test_what_another_process_finished_meanwhile_is_read_not_run_again(
    make_comparison: MakeComparison, tmp_path: Path
) -> None:
    comparison, out = make_comparison(), tmp_path / "out"
    nested: list[str] = []

    def other(event: CompareEvent) -> None:
        """Another process, with the same directory, once the first cell runs here."""
        if isinstance(event, CellStarted) and not nested:
            nested.append("")
            stopped: list[CompareEvent] = []
            with pytest.raises(InterruptedRunError, match="waiting for another process"):
                run_comparison(
                    comparison,
                    out,
                    notify=stopped.append,
                    should_stop=lambda: any(isinstance(e, CellEnded) for e in stopped),
                )
            nested.extend(ran(stopped))

    outcome = run_comparison(comparison, out, notify=other)
    assert nested == ["", "all / plain / lora / seed 0"]
    assert [cell.status for cell in outcome.results.cells] == [Status.DONE, Status.DONE]


def test_stopped_while_waiting(make_comparison: MakeComparison, tmp_path: Path) -> None:
    comparison, out = make_comparison(methods=[FEDTT]), tmp_path / "out"
    out.mkdir()
    (out / "compare.toml").touch()
    lock = lock_path(out, out / "cells" / "all" / "plain" / "fedtt" / "seed0")
    waiting = pytest.raises(InterruptedRunError, match="waiting for another process to finish all")
    with locked_if_free(lock), waiting:
        run(comparison, out, should_stop=lambda: True)
