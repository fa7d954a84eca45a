"""Run directories that were damaged, changed underneath, or opened twice: refused, not mangled."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.engine.test_checkpoint import as_before_checksums
from tests.tiny import save_tiny_bert, write_reviews

from fedtt import params as p
from fedtt.cli.saved_run_commands import evaluate_command, predict_command
from fedtt.config import RunConfig, dump_config
from fedtt.engine.build import build_federation
from fedtt.engine.checkpoint import save_state
from fedtt.errors import DivergenceError, InterruptedRunError, RunError
from fedtt.experiment import (
    Evaluated,
    Event,
    RoundDone,
    RunPrepared,
    create_named_run,
    create_run,
    evaluate_run,
    open_run,
    predict_texts,
    run_experiment,
)
from fedtt.experiment.exports import export_run
from fedtt.experiment.run_rows import rows_at
from fedtt.report.run_view import view_run
from fedtt.run_place import check_new_run

MakeConfig = Callable[..., RunConfig]
FAST = {"rounds": 2, "client": {"steps": 1, "batch_size": 4}, "evaluation": {"alone": False}}


def go_on(config: RunConfig, path: Path, **options: object) -> dict:
    given = {"notify": lambda _event: None, **options}
    return run_experiment(config, build_federation(config), open_run(path), **given)


@pytest.fixture(scope="module")
def finished(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "finished"
    create_run(path, make_config(**FAST), overwrite=False)
    go_on(make_config(**FAST), path)
    return path


@pytest.fixture
def path(finished: Path, tmp_path: Path) -> Path:
    """A finished run, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(path: Path) -> dict[str, bytes]:
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


# -- what counts as a run, and what --overwrite may delete


def test_a_folder_with_somebodys_config_is_no_run(make_config: MakeConfig, tmp_path: Path) -> None:
    """Every name that a run uses, none of them a run's."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "notes.txt").write_text("mine")
    (tmp_path / "config.toml").write_text(dump_config(make_config()))
    (tmp_path / "data.json").write_text("[1, 2, 3]")
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(RunError, match="the run directory is not empty"):
            create_run(tmp_path, make_config(), overwrite=overwrite)
    with pytest.raises(RunError, match="no run here"):
        open_run(tmp_path)
    assert contents(tmp_path) == before


def test_runs_of_one_name_that_start_together_get_a_directory_each(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """As two commands do that reach the naming in the same second."""
    parent, starting = tmp_path / "runs", Barrier(8)

    def create(seed: int) -> Path:
        starting.wait()
        return create_named_run(parent, "now", make_config(seed=seed)).path

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(create, range(8)))
    assert {path.name for path in paths} == {"now", *(f"now-{n}" for n in range(2, 9))}
    assert [open_run(path).config().seed for path in paths] == list(range(8))


def test_a_name_under_a_file_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no directory")
    with pytest.raises(RunError, match="cannot create the run directory"):
        create_named_run(tmp_path / "runs", "now", make_config())


def test_a_run_is_known_by_its_config_or_by_its_state(path: Path) -> None:
    check_new_run(path, overwrite=True)
    config = path / "config.toml"
    config.write_text(config.read_text().split("\n", 1)[1])  # as written by earlier versions
    assert open_run(path).config().rounds == 2
    (path / "state.safetensors").unlink()
    with pytest.raises(RunError, match="no run here"):
        open_run(path)


# -- damaged files


def edit_json(path: Path, change: Callable[[dict], object]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def edit_rounds(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    file = path / "rounds.jsonl"
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))


def edit_state(path: Path, **changes: object) -> None:
    state = open_run(path).load_state(expected=p.structure_of(params_in(path)))
    save_state(path / "state.safetensors", replace(state, **changes))


def params_in(path: Path) -> p.Params:
    return {
        name.removeprefix("params/"): tensor
        for name, tensor in load_file(path / "state.safetensors").items()
    }


def without(key: str) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        first = json.loads(lines[0])
        del first[key]
        return [json.dumps(first) + "\n", *lines[1:]]

    return change


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no rounds": lambda path: (path / "rounds.jsonl").unlink(),
    "no state": lambda path: (path / "state.safetensors").unlink(),
    "a round missing": lambda path: edit_rounds(path, lambda lines: lines[1:]),
    "a round too few": lambda path: edit_rounds(path, lambda lines: lines[:1]),
    "a round twice": lambda path: edit_rounds(path, lambda lines: [lines[0], *lines]),
    "rounds that are not JSON": lambda path: edit_rounds(path, lambda lines: ["{\n", *lines[1:]]),
    "rounds that are no objects": lambda path: edit_rounds(path, lambda lines: ["3\n", lines[1]]),
    "rounds that are no text": lambda path: (path / "rounds.jsonl").write_bytes(b"\xff\xfe\n"),
    **{
        f"rounds without {key}": lambda path, key=key: edit_rounds(path, without(key))
        for key in ("round", "loss", "seconds", "uplink_bytes", "clients", "dropped", "validation")
    },
    "baselines that are a list": lambda path: (path / "baselines.json").write_text("[]"),
    "baselines that are numbers": lambda path: (path / "baselines.json").write_text(
        '{"before": 3}'
    ),
    "baselines without a loss": lambda path: (path / "baselines.json").write_text(
        '{"before": {"accuracy": {"mean": 1.0}}}'
    ),
    "alone that is a number": lambda path: edit_json(
        path / "baselines.json", lambda b: {**b, "alone": 3}
    ),
    "data that is a list": lambda path: (path / "data.json").write_text("[]"),
    "data without labels": lambda path: edit_json(
        path / "data.json", lambda d: {k: v for k, v in d.items() if k != "label_names"}
    ),
    "labels that are numbers": lambda path: edit_json(
        path / "data.json", lambda d: {**d, "label_names": [1, 2]}
    ),
    "too many labels": lambda path: edit_json(
        path / "data.json", lambda d: {**d, "label_names": ["bad", "good", "so-so"]}
    ),
    "digests that are a number": lambda path: edit_json(
        path / "data.json", lambda d: {**d, "digests": 3}
    ),
    "a negative round": lambda path: edit_state(path, next_round=-2),
    "a round past the end": lambda path: edit_state(path, next_round=99),
    "books of another kind": lambda path: edit_state(path, synced_at={"north": "x"}),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run_is_refused_and_left_as_it_is(
    make_config: MakeConfig, path: Path, case: str
) -> None:
    DAMAGE[case](path)
    before = contents(path)
    with pytest.raises(RunError, match="where: ") as caught:
        go_on(make_config(**FAST), path)
    assert "fix: " in str(caught.value)
    after = contents(path)
    assert after == {**before, **{n: after[n] for n in after if n == ".lock"}}


@pytest.mark.parametrize(
    "case", ["data that is a list", "labels that are numbers", "too many labels", "no state"]
)
def test_a_damaged_run_predicts_nothing(path: Path, case: str) -> None:
    DAMAGE[case](path)
    with pytest.raises(RunError):
        predict_texts(path, ["the film was great"])


@pytest.mark.parametrize("case", ["no rounds", "a round too few"])
def test_a_run_with_a_record_too_few_is_refused_by_whatever_opens_it(path: Path, case: str) -> None:
    DAMAGE[case](path)
    for use in (
        lambda: evaluate_run(path, split="test"),
        lambda: predict_texts(path, ["the film was great"]),
        lambda: export_run(path, path.parent / "out", name="peft"),
        lambda: view_run(path),
        lambda: open_run(path),
    ):
        with pytest.raises(RunError, match=r"rounds\.jsonl\n.*got: records of [01] rounds, and a"):
            use()
    (row,) = rows_at(path.parent)
    assert row["state"] == "unreadable"
    assert "a state after 2" in row["problem"]


def test_what_is_damaged_is_said_once(path: Path) -> None:
    edit_rounds(path, lambda lines: [lines[0], "{\n"])
    with pytest.raises(RunError, match="got: line 2: ") as caught:
        open_run(path).rounds()
    said = str(caught.value)
    assert [said.count(part) for part in ("missing or damaged", "where: ", "fix: ")] == [1, 1, 1]


def test_a_record_that_lacks_its_line_end_alone_counts(make_config: MakeConfig, path: Path) -> None:
    file = path / "rounds.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])  # as some editors save it
    assert len(open_run(path).rounds()) == 2
    open_run(path).add_validation(1, json.loads(whole.splitlines()[1])["validation"])
    assert file.read_bytes() == whole
    file.write_bytes(whole[:-1])
    go_on(make_config(**FAST), path)
    assert file.read_bytes() == whole
    file.write_bytes(whole[:-2])  # as a crash does
    with pytest.raises(RunError, match="records of 1 rounds, and a state after 2"):
        open_run(path)


# -- data and base weights that changed since


@pytest.fixture
def own(make_config: MakeConfig, tmp_path: Path) -> tuple[RunConfig, Path]:
    """A run stopped after its first round, over data and a base model of its own."""
    model = save_tiny_bert(tmp_path / "model")
    data = write_reviews(tmp_path / "reviews.jsonl", clients={"a": 30, "b": 40})
    config = make_config(
        **FAST,
        model={"name": str(model), "max_length": 16, "device": "cpu"},
        data={"path": str(data), "test": 0.2, "validation": 0.2},
    )
    create_run(tmp_path / "run", config, overwrite=False)
    with pytest.raises(InterruptedRunError):
        stop_after_a_round(config, tmp_path / "run")
    return config, tmp_path / "run"


def stop_after_a_round(config: RunConfig, path: Path) -> None:
    seen: list[Event] = []
    go_on(
        config,
        path,
        notify=seen.append,
        should_stop=lambda: any(isinstance(event, RoundDone) for event in seen),
    )


def rewrite(path: Path, change: Callable[[dict], dict]) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(row)) + "\n" for row in rows))


CHANGES: dict[str, tuple[Callable[[dict], dict], str]] = {
    "other texts": (lambda row: {**row, "text": row["text"].replace("film", "cast")}, "train"),
    "other labels": (
        lambda row: {**row, "label": "good" if row["label"] == "bad" else "bad"},
        "train",
    ),
    "another client": (lambda row: {**row, "client": row["client"].replace("b", "c")}, "clients"),
    "other label names": (lambda row: {**row, "label": row["label"] + "!"}, "label_names"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_changed_data_is_noticed(own: tuple[RunConfig, Path], case: str) -> None:
    config, path = own
    change, named = CHANGES[case]
    rewrite(path.parent / "reviews.jsonl", change)
    before = contents(path)
    with pytest.raises(RunError, match=f"not what the run began with.*{named}"):
        go_on(config, path)
    with pytest.raises(RunError, match="not what the run began with"):
        evaluate_run(path, split="test")
    assert contents(path) == before


def test_more_data_is_noticed_with_its_counts(own: tuple[RunConfig, Path]) -> None:
    config, path = own
    write_reviews(path.parent / "reviews.jsonl", clients={"a": 60, "b": 40})
    with pytest.raises(RunError, match=r"client a: train 18 -> 36"):
        go_on(config, path)


@pytest.mark.parametrize("change", ["one value", "two values swapped"])
def test_changed_base_weights_are_noticed(own: tuple[RunConfig, Path], change: str) -> None:
    config, path = own
    file = path.parent / "model" / "model.safetensors"
    weights = load_file(file)
    name = "bert.encoder.layer.1.attention.self.query.weight"
    if change == "one value":
        weights[name][3, 5] += 1e-3
    else:
        weights[name][[3, 4]] = weights[name][[4, 3]]
    save_file(weights, file, metadata={"format": "pt"})
    for use in (
        lambda: go_on(config, path),
        lambda: evaluate_run(path, split="test"),
        lambda: predict_texts(path, ["great"]),
    ):
        with pytest.raises(RunError, match="base model"):
            use()


def test_unchanged_data_and_weights_go_on(own: tuple[RunConfig, Path]) -> None:
    config, path = own
    assert go_on(config, path)["rounds"] == 2


def test_a_run_of_an_earlier_version_has_no_digests_to_compare(
    own: tuple[RunConfig, Path],
) -> None:
    config, path = own
    edit_json(path / "data.json", lambda d: {k: v for k, v in d.items() if k != "digests"})
    assert go_on(config, path)["rounds"] == 2
    assert "digests" in json.loads((path / "data.json").read_text())


# -- divergence


@pytest.mark.parametrize("every", [0, 1])
def test_a_run_that_ends_diverged_has_no_result(
    make_config: MakeConfig, tmp_path: Path, every: int
) -> None:
    """One step: its loss is that of the start, and only the new parameters are useless."""
    config = make_config(
        rounds=1,
        client={"steps": 1, "learning_rate": 1e30, "optimizer": "sgd", "max_grad_norm": 1e9},
        evaluation={"every": every, "alone": False},
    )
    create_run(tmp_path / "run", config, overwrite=False)
    with pytest.raises(DivergenceError, match=r"last saved state: .*state\.safetensors") as caught:
        go_on(config, tmp_path / "run")
    assert f"after {0 if every else 1} rounds" in str(caught.value)
    assert len(open_run(tmp_path / "run").rounds()) == (0 if every else 1)
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_state_that_is_not_finite_is_not_saved(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(**{**FAST, "evaluation": {"every": 0}}, server={"learning_rate": 1e38})
    create_run(tmp_path / "run", config, overwrite=False)
    with pytest.raises(DivergenceError, match="last saved state"):
        go_on(config, tmp_path / "run")
    state = load_file(tmp_path / "run" / "state.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_a_state_that_is_not_finite_is_not_evaluated(path: Path) -> None:
    state = open_run(path).load_state(expected=p.structure_of(params_in(path)))
    name = next(n for n in state.params if "classifier" in n and n.endswith("weight"))
    bad = {**state.params, name: state.params[name] * float("nan")}
    save_state(path / "state.safetensors", replace(state, params=bad))
    with pytest.raises(DivergenceError, match="client north"):
        evaluate_run(path, split="test")
    with pytest.raises(DivergenceError):
        predict_texts(path, ["the film was great"])


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("learning_rate = 0.005", "learning_rate = 0.01", "client.learning_rate: 0.005 -> 0.01"),
        ("seed = 0", "seed = 1", "seed: 0 -> 1"),
        ("rounds = 2", "rounds = 3", "rounds: 2 -> 3"),
    ],
)
def test_a_configuration_that_was_edited_since_is_refused_with_what_changed(
    path: Path, old: str, new: str, line: str
) -> None:
    file = path / "config.toml"
    text = file.read_text()
    assert f"\n{old}\n" in text
    file.write_text(text.replace(f"\n{old}\n", f"\n{new}\n", 1))
    for use in (open_run, lambda path: evaluate_run(path, split="test")):
        with pytest.raises(
            RunError, match=rf"changed since it began:(.|\n)*- {line}(.|\n)*put the"
        ):
            use(path)
    file.write_text(text.replace("\n\n", "\n\n# a remark\n", 1))
    open_run(path)


def test_a_run_of_before_checksums_goes_on_and_says_so(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    create_run(path, make_config(**FAST), overwrite=False)
    with pytest.raises(InterruptedRunError):
        go_on(make_config(**FAST), path, should_stop=lambda: True)
    as_before_checksums(path / "state.safetensors")
    evaluate_command(path, split="test", as_json=True)
    predict_command(path, ["a text"], as_json=True)
    assert capsys.readouterr().err.count("no checksum") == 2
    events: list[Event] = []
    go_on(make_config(**FAST), path, notify=events.append)
    (prepared,) = (event for event in events if isinstance(event, RunPrepared))
    assert any("written by an earlier fedtt: it has no checksum" in n for n in prepared.notes)
    open_run(path)
    (path / "config.toml").write_text(
        (path / "config.toml").read_text().replace("rounds = 2", "rounds = 3")
    )
    with pytest.raises(RunError, match="rounds: 2 -> 3"):
        open_run(path)


# -- two processes, full disks, requests to stop


def test_a_run_runs_once_at_a_time(make_config: MakeConfig, path: Path) -> None:
    config = make_config(**FAST)
    with open_run(path).locked():
        with pytest.raises(RunError, match="another process"):
            go_on(config, path)
        with pytest.raises(RunError, match="another process"):
            create_run(path, config, overwrite=True)
        assert evaluate_run(path, split="test")["accuracy"]["mean"] >= 0
    assert (path / "summary.json").exists()
    assert go_on(config, path)["rounds"] == 2


def test_the_adapter_follows_every_round(make_config: MakeConfig, tmp_path: Path) -> None:
    """A kill -9 right after any round leaves the adapter of that round."""
    config = make_config(**FAST)
    run = create_run(tmp_path / "run", config, overwrite=False)
    adapter = run.adapter_path / "adapter_model.safetensors"
    seen: list[tuple[int, float]] = []

    def notify(event: Event) -> None:
        if isinstance(event, RoundDone | Evaluated):
            head = next(v for k, v in load_file(adapter).items() if k.endswith("classifier.weight"))
            state = params_in(run.path)
            expected = next(v for k, v in state.items() if "classifier" in k and "weight" in k)
            assert torch.equal(head, expected)
            seen.append((len(run.rounds()), float(head.sum())))

    go_on(config, run.path, notify=notify)
    assert len({total for _, total in seen}) == 3  # before, after one round, after two


def test_a_full_disk_is_an_error_of_the_run(make_config: MakeConfig, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", make_config(**FAST), overwrite=False)

    def save(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        run.save_adapter(save)
    assert not any("adapter" in entry.name for entry in run.path.iterdir())
    (run.path / "rounds.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match="No space left"):
        run.append_round({"round": 0})


@pytest.mark.parametrize("moment", ["before training", "validation", "test"])
def test_a_request_to_stop_is_heard_during_measurements(
    make_config: MakeConfig, tmp_path: Path, moment: str
) -> None:
    config = make_config(**{**FAST, "evaluation": {"alone": False, "batch_size": 2}})
    path = tmp_path / "run"
    create_run(path, config, overwrite=False)
    seen: list[Event] = []
    calls: list[int] = []

    def should_stop() -> bool:
        done = sum(isinstance(event, RoundDone) for event in seen)
        steps = len(seen)
        if moment == "before training":
            calls.append(steps)
            return len(calls) == 3
        if moment == "validation":
            # RunPrepared, the measurement before training, and a step of each of 3 clients.
            calls.extend([1] if steps == 5 else [])
            return len(calls) == 3
        calls.extend([1] if done == 2 else [])
        return len(calls) == 3

    with pytest.raises(InterruptedRunError, match=r"measuring client [nsw]"):
        go_on(config, path, notify=seen.append, should_stop=should_stop)
    expected = {"before training": 0, "validation": 0, "test": 2}[moment]
    assert len(open_run(path).rounds()) == expected
    assert go_on(config, path)["rounds"] == 2
