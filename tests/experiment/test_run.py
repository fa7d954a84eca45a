"""Whole runs on a tiny model: what they write, and that stopping changes nothing."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tests.experiment.runs import run
from transformers import BertForSequenceClassification

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.engine.checkpoint import save_state
from fedtt.errors import DataError, DivergenceError, InterruptedRunError, RunError
from fedtt.experiment import (
    BaselineRoundDone,
    Evaluated,
    Event,
    RoundDone,
    RunPrepared,
    TrainingDone,
    create_run,
    evaluate_run,
    open_run,
    predict_texts,
    run_experiment,
)
from fedtt.models import BaseModelSpec, load_classifier
from fedtt.peft import load_adapted

MakeConfig = Callable[..., RunConfig]


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "state.safetensors")


def without_times(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


@pytest.fixture(scope="module")
def finished(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "finished"
    run(make_config(), path)
    return path


def test_a_run_directory_holds_what_it_should(finished: Path) -> None:
    names = {entry.name for entry in finished.iterdir()}
    assert names == {
        ".lock",
        "adapter",
        "baselines.json",
        "config.toml",
        "data.json",
        "rounds.jsonl",
        "state.safetensors",
        "summary.json",
    }
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        entry.name for entry in (finished / "adapter").iterdir()
    }


def test_the_summary_adds_up(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    records = open_run(finished).rounds()
    assert summary["rounds"] == len(records) == 3
    for direction in ("uplink_bytes", "downlink_bytes"):
        by_client = [c[direction] for record in records for c in record["clients"].values()]
        assert summary[direction] == sum(by_client) == sum(r[direction] for r in records)
    for part in ("test", "before", "alone"):
        accuracy = summary[part]["accuracy"]
        assert set(accuracy) == {"mean", "north", "south", "west"}
        clients = [value for name, value in accuracy.items() if name != "mean"]
        assert accuracy["mean"] == pytest.approx(sum(clients) / 3)
    # 2 blocks x 2 adapters, TT 32x8 rank 2 over modes [8, 4 | 8]: Down 16 + 16 + 16 = 48 and
    # Up [8 | 4, 8]: 16 + 16 + 16 = 48; head 32 x 2 + 2 = 66.
    assert summary["exchanged_parameters"] == {"cores": 2 * 2 * 96, "head": 66, "total": 450}
    assert summary["uplink_bytes"] > 3 * 3 * 4 * 450
    assert summary["lora_reference"]["exchanged_parameters"]["lora"] == 2 * 2 * 8 * (32 + 32)


def test_records_have_global_and_client_figures(finished: Path) -> None:
    for index, record in enumerate(open_run(finished).rounds()):
        assert record["round"] == index
        assert set(record["clients"]) == {"north", "south", "west"}
        accuracy = record["validation"]["accuracy"]
        assert set(accuracy) == {"mean", "pooled", "north", "south", "west"}
        assert all(client["steps"] == 3 for client in record["clients"].values())


def test_the_saved_adapter_is_the_global_model(
    finished: Path, make_config: MakeConfig, tiny_bert: Path
) -> None:
    federation = build_federation(make_config())
    base = load_classifier(
        BaseModelSpec(name=str(tiny_bert), dtype="float32", device="cpu"),
        label_names=federation.label_names,
        pad_token_id=0,
        seed=123,
    ).model
    loaded = PeftModel.from_pretrained(base, finished / "adapter")
    names = list(federation.kinds)
    state = open_run(finished).load_state(expected=p.structure_of(federation.initial.params))
    assert all(torch.equal(p.read_params(loaded, names)[n], state.params[n]) for n in names)


def test_the_saved_adapter_lists_its_checksums(finished: Path) -> None:
    folder = finished / "adapter"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    named = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert named.keys() == {file.name for file in folder.iterdir()} - {"SHA256SUMS"}
    for name, digest in named.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_an_adapter_of_which_a_bit_changed_is_not_loaded(
    finished: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    def base() -> BertForSequenceClassification:
        return BertForSequenceClassification.from_pretrained(tiny_bert)

    folder = shutil.copytree(finished / "adapter", tmp_path / "adapter")
    load_adapted(base(), folder)
    weights = folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError, match=r"(?s)not what its checksum says.*adapter_model"):
        load_adapted(base(), folder)
    weights.unlink()
    with pytest.raises(RunError, match="no such file"):
        load_adapted(base(), folder)
    (folder / "SHA256SUMS").write_text("nothing of the kind\n")
    with pytest.raises(RunError, match="SHA256SUMS"):
        load_adapted(base(), folder)


def test_evaluate_gives_the_summarys_figures_again(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert evaluate_run(finished, split="test") == summary["test"]


def test_predict_ranks_the_classes_of_every_text(finished: Path) -> None:
    predictions = predict_texts(finished, ["the film was great", "a dull plot"])
    assert [prediction.text for prediction in predictions] == ["the film was great", "a dull plot"]
    for prediction in predictions:
        assert set(prediction.probabilities) == {"bad", "good"}
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert prediction.probabilities[prediction.label] == max(prediction.probabilities.values())


def test_predict_says_what_it_cut_and_refuses_what_a_file_may_not_hold(finished: Path) -> None:
    long, fits = "the film was great " * 9, "the film was great"
    assert [p.cut_to for p in predict_texts(finished, [long, fits])] == [16, None]
    for empty in ("", " \n"):
        with pytest.raises(DataError, match=r"(?s)a text is empty.*text 2"):
            predict_texts(finished, [fits, empty])


# 3 clients x 3 steps a round: in the first round, in the second, and in the baselines (after 27).
@pytest.mark.parametrize("stop_after", [2, 13, 31])
def test_a_resumed_run_ends_with_the_same_bits(
    finished: Path, make_config: MakeConfig, tmp_path: Path, stop_after: int
) -> None:
    path = tmp_path / "run"
    with pytest.raises(InterruptedRunError, match=f"--resume {path}"):
        run(make_config(), path, stop_after=stop_after)
    assert not (path / "summary.json").exists()
    assert (path / "adapter" / "adapter_model.safetensors").exists()
    assert len(open_run(path).rounds()) == min(3, (stop_after - 1) // 9)

    resumed = run(make_config(), path)
    expected = json.loads((finished / "summary.json").read_text())
    uninterrupted = state_of(finished)
    assert set(state_of(path)) == set(uninterrupted)
    assert all(torch.equal(state_of(path)[name], uninterrupted[name]) for name in uninterrupted)
    assert without_times(open_run(path).rounds()) == without_times(open_run(finished).rounds())
    for part in ("test", "before", "alone", "uplink_bytes", "downlink_bytes"):
        assert resumed[part] == expected[part]


def test_a_crash_between_record_and_state_is_mended(
    finished: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        run(make_config(), path, stop_after=10)
    with (path / "rounds.jsonl").open("a") as file:
        file.write('{"round": 1, "uplink_bytes": 5}\n{"round": 2, "upl')
    run(make_config(), path)
    assert without_times(open_run(path).rounds()) == without_times(open_run(finished).rounds())


def test_resuming_a_finished_run_changes_nothing(make_config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = run(make_config(rounds=1), path)
    state = state_of(path)
    assert run(make_config(rounds=1), path) == first
    assert all(torch.equal(state_of(path)[name], state[name]) for name in state)


def test_seeds_change_the_run_and_nothing_else_does(
    finished: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # the global state must not matter
    run(make_config(), tmp_path / "again")
    run(make_config(seed=1), tmp_path / "other")
    same, other = state_of(tmp_path / "again"), state_of(tmp_path / "other")
    reference = state_of(finished)
    assert all(torch.equal(same[name], reference[name]) for name in reference)
    assert not all(torch.equal(other[name], reference[name]) for name in reference)


def test_sampled_cohorts_take_part_and_no_baseline_is_trained(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    summary = run(make_config(cohort={"size": 2}), tmp_path / "run")
    cohorts = [tuple(record["clients"]) for record in open_run(tmp_path / "run").rounds()]
    assert all(len(cohort) == 2 for cohort in cohorts)
    assert summary["alone"] is None


def test_without_the_test_split_nothing_saved_depends_on_it(
    make_config: MakeConfig, finished: Path, tmp_path: Path
) -> None:
    summary = run(make_config(evaluation={"test": False}), tmp_path / "run")
    assert (summary["test"], summary["before"], summary["alone"]) == (None, None, None)
    assert not (tmp_path / "run" / "baselines.json").exists()
    blind, seeing = open_run(tmp_path / "run").rounds(), open_run(finished).rounds()
    assert without_times(blind) == without_times(seeing)


def test_the_start_is_measured_unless_it_is_left_out(
    make_config: MakeConfig, finished: Path, tmp_path: Path
) -> None:
    summary = run(make_config(evaluation={"before": False}), tmp_path / "run")
    assert summary["before"] is None
    assert "before" not in open_run(tmp_path / "run").baselines()
    assert summary["test"] == open_run(finished).summary()["test"]


def test_events_tell_the_story_in_order(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(rounds=2)
    events: list[Event] = []
    run_experiment(
        config,
        build_federation(config),
        create_run(tmp_path / "run", config, overwrite=False),
        notify=events.append,
    )
    milestones = [e for e in events if isinstance(e, RunPrepared | RoundDone | Evaluated)]
    assert [type(e) for e in milestones] == [
        RunPrepared,
        Evaluated,
        RoundDone,
        RoundDone,
        Evaluated,
        Evaluated,
    ]
    assert [e.what for e in milestones if isinstance(e, Evaluated)] == ["before", "alone", "test"]
    ends = [e for e in events if isinstance(e, RoundDone | TrainingDone | BaselineRoundDone)]
    kinds = [RoundDone] * 2 + [TrainingDone] + [BaselineRoundDone] * 6
    assert [type(e) for e in ends] == kinds
    assert ends[2].validation == ends[1].record["validation"]
    assert [(e.client_id, e.number, e.clients, e.round_index) for e in ends[3:]] == [
        (client_id, number, 3, round_index)
        for number, client_id in enumerate(("north", "south", "west"), start=1)
        for round_index in (0, 1)
    ]
    assert all(e.seconds > 0 and e.loss > 0 for e in ends[3:])


def test_divergence_names_round_client_and_the_last_saved_state(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    client = {"steps": 3, "learning_rate": 1e30, "optimizer": "sgd", "max_grad_norm": 0}
    with pytest.raises(DivergenceError) as caught:
        run(make_config(client=client), path)
    message = str(caught.value)
    assert "where: round 0, client " in message
    assert f"last saved state: {path / 'state.safetensors'} (after 0 rounds)" in message
    assert open_run(path).rounds() == []


def test_a_state_of_another_method_is_refused(
    finished: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    directory = create_run(path, make_config(), overwrite=False)
    federation = build_federation(make_config(method={"name": "lora", "rank": 2}))
    save_state(directory.state_path, federation.initial)
    with pytest.raises(RunError, match="cannot be used"):
        run(make_config(), path)
    (path / "state.safetensors").write_bytes(b"\x00" * 30)
    with pytest.raises(RunError, match="cannot be used"):
        run(make_config(), path)


def test_lora_runs_in_the_same_loop(make_config: MakeConfig, tmp_path: Path) -> None:
    summary = run(make_config(method={"name": "lora", "rank": 4}), tmp_path / "run")
    assert summary["exchanged_parameters"] == {
        "head": 66,
        "lora": 2 * 2 * 4 * (32 + 32),
        "total": 66 + 1024,
    }


def test_the_frozen_base_is_bit_identical_after_a_run(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(client={"steps": 3, "learning_rate": 0.05, "weight_decay": 0.5})
    federation = build_federation(config)
    frozen = [n for n, _ in federation.model.named_parameters() if n not in federation.kinds]
    before = p.read_params(federation.model, frozen)
    directory = create_run(tmp_path / "run", config, overwrite=False)
    run_experiment(config, federation, directory, notify=lambda _event: None)
    after = p.read_params(federation.model, frozen)
    assert all(torch.equal(before[name], after[name]) for name in frozen)
