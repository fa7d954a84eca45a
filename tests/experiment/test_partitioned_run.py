"""Whole runs whose clients share the evaluation sets, and runs on pairs of texts."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.experiment.runs import run
from tests.tiny import sentence, write_reviews

from fedtt.cli.terminal_tables import print_result
from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.errors import InterruptedRunError, RunError
from fedtt.experiment import (
    evaluate_run,
    open_run,
    predict_texts,
)

MakeConfig = Callable[..., RunConfig]
ONE_CLASS = {"kind": "labels", "proportions": [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]}


@pytest.fixture(scope="module")
def finished(
    make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunConfig, Path]:
    path = tmp_path_factory.mktemp("runs") / "finished"
    config = make_config(rounds=2, partition=ONE_CLASS)
    run(config, path)
    return config, path


def test_the_global_model_is_measured_on_one_set(finished: tuple[RunConfig, Path]) -> None:
    config, path = finished
    federation = build_federation(config)
    assert federation.population == ("client-0000", "client-0001", "client-0002")
    assert list(federation.splits["validation"]) == list(federation.splits["test"]) == ["all"]
    summary = json.loads((path / "summary.json").read_text())
    for part in ("test", "before"):
        assert set(summary[part]) == {"accuracy", "macro_f1", "matthews", "constant", "loss"}
        for values in summary[part].values():
            assert set(values) == {"mean", "all"}
            assert values["mean"] == values["all"]
    for record in open_run(path).rounds():
        assert set(record["validation"]["accuracy"]) == {"mean", "all", "pooled"}
        assert set(record["clients"]) == set(federation.population)
    assert evaluate_run(path, split="test") == summary["test"]
    assert set(evaluate_run(path, split="train")["loss"]) == {"mean", *federation.population}


def test_a_client_alone_is_measured_on_the_shared_test_set(
    finished: tuple[RunConfig, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, path = finished
    summary = json.loads((path / "summary.json").read_text())
    alone = summary["alone"]["accuracy"]
    assert set(alone) == {"mean", "client-0000", "client-0001", "client-0002"}
    test = build_federation(config).held("test", "client-0000")
    assert list(test) == ["all"]
    # A client of one class has learned to answer with it, on a test set of both.
    share = test["all"].labels.mean()
    assert share == pytest.approx(0.5, abs=0.2)
    print_result(summary, path=path)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("all", "client-0000", "client-0002", "mean"))


def test_what_is_known_of_the_data_names_the_shared_sets(
    finished: tuple[RunConfig, Path],
) -> None:
    clients = json.loads((finished[1] / "data.json").read_text())["clients"]
    assert list(clients) == ["client-0000", "client-0001", "client-0002", "all"]
    assert set(clients["client-0000"]) == {"train"}
    assert set(clients["all"]) == {"validation", "test"}


def test_a_partitioned_run_resumes_with_the_same_bits(
    finished: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    config, path = finished
    with pytest.raises(InterruptedRunError):
        run(config, tmp_path / "run", stop_after=13)
    assert open_run(tmp_path / "run").config() == config
    resumed = run(config, tmp_path / "run")
    expected = json.loads((path / "summary.json").read_text())
    for part in ("test", "before", "alone", "uplink_bytes"):
        assert resumed[part] == expected[part]
    states = [load_file(p / "state.safetensors") for p in (path, tmp_path / "run")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_validation_takes_no_more_than_it_may(make_config: MakeConfig) -> None:
    config = make_config(partition=ONE_CLASS, evaluation={"validation_examples": 7})
    splits = build_federation(config).splits
    assert {name: len(data) for name, data in splits["validation"].items()} == {"all": 7}
    assert len(splits["test"]["all"]) == len(
        build_federation(make_config(partition=ONE_CLASS)).splits["test"]["all"]
    )


def test_clients_of_their_own_can_share_a_test_file(
    make_config: MakeConfig, reviews: Path, tmp_path: Path
) -> None:
    test = write_reviews(tmp_path / "test.jsonl", clients={"x": 20}, seed=5)
    data = {"path": str(reviews), "test_path": str(test), "validation": 0.2}
    federation = build_federation(make_config(data=data))
    assert list(federation.splits["test"]) == ["all"]
    assert len(federation.splits["test"]["all"]) == 20
    assert list(federation.splits["validation"]) == ["north", "south", "west"]
    assert list(federation.held("validation", "north")) == ["north"]


def test_many_clients_with_long_texts_get_one_note(make_config: MakeConfig) -> None:
    partition = {"kind": "iid", "clients": 20}
    model = {**make_config().model.model_dump(), "max_length": 8}
    notes = build_federation(make_config(partition=partition, model=model)).notes
    cut = [note for note in notes if "were cut there" in note]
    assert len(cut) == 1
    assert "clients: " in cut[0]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two sentences, and whether they say the same."""
    stream = random.Random(0)
    rows = []
    for index in range(80):
        first, second = stream.choice(["good", "bad"]), stream.choice(["good", "bad"])
        texts = [sentence(first, stream), sentence(second, stream)]
        rows.append({"text": texts[0], "other": texts[1], "label": int(first == second)})
        rows[-1]["client"] = f"c{index % 2}"
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_run_on_pairs_reads_both_texts(
    make_config: MakeConfig, pairs: Path, tmp_path: Path
) -> None:
    data = {"path": str(pairs), "pair_column": "other", "validation": 0.2, "test": 0.2}
    model = {**make_config().model.model_dump(), "max_length": 32}
    config = make_config(rounds=1, data=data, model=model)
    both = run(config, tmp_path / "both")
    train = build_federation(config).splits["train"]["c0"]
    assert train.token_types is not None
    assert set(train.token_types.tolist()) == {0, 1}
    first_only = make_config(rounds=1, data={**data, "pair_column": None}, model=model)
    assert run(first_only, tmp_path / "first")["test"] != both["test"]
    with pytest.raises(RunError, match=r"answers pairs of texts(.|\n)*'text' and 'other'"):
        predict_texts(tmp_path / "both", ["a text"])


@pytest.mark.parametrize("adjustment", [0.0, 1.0])
def test_a_natural_client_of_one_class_takes_part(
    make_config: MakeConfig, tmp_path: Path, adjustment: float
) -> None:
    """Its own test set holds one class too: every metric is a number there, alone and federated."""
    stream = random.Random(0)
    rows = [
        {"text": sentence(label, stream), "label": label, "client": client}
        for client, labels in {"both": ("good", "bad"), "sick": ("bad", "bad")}.items()
        for label in labels * 12
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = make_config(
        rounds=1,
        data={"path": str(data), "test": 0.2, "validation": 0.2},
        client={"steps": 2, "batch_size": 4, "logit_adjustment": adjustment},
    )
    summary = run(config, tmp_path / "run")
    for part in ("before", "alone", "test"):
        assert all(-1e9 < values["sick"] < 1e9 for values in summary[part].values())
    assert summary["test"]["matthews"]["sick"] == 0.0
    assert summary["test"]["constant"]["sick"] == 0.0
