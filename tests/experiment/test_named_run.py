"""Runs of named tasks, whole: their own metrics, regression, groups, label words of the catalog."""

import json
import random
from pathlib import Path

import pandas as pd
import pytest
import torch
from tests.experiment.runs import run
from tests.tiny import sentence

import fedtt
from fedtt.config import RunConfig, parse_config
from fedtt.engine.build import build_federation
from fedtt.errors import ConfigError, DataError, RunError
from fedtt.metrics import MEAN


def write_split(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The columns of four tasks, in a language of good and bad films."""
    root, stream = tmp_path_factory.mktemp("named"), random.Random(5)
    for split, count in {"train": 60, "validation": 24}.items():
        rows: dict[str, list[dict]] = {"stsb": [], "sst2": [], "copa": [], "squad": []}
        for index in range(count):
            first, second = (stream.choice(["good", "bad"]) for _ in range(2))
            texts = [f"{sentence(label, stream)} {split} {index}" for label in (first, second)]
            alike = 4.0 if first == second else 1.0
            both = {"sentence1": texts[0], "sentence2": texts[1], "idx": index}
            rows["stsb"].append({**both, "label": alike + stream.random()})
            answers = {"text": [first, f"a {first} film"], "answer_start": [0, 0]}
            rows["squad"].append({"context": texts[0], "question": "Was it?", "answers": answers})
            rows["sst2"].append({"sentence": texts[0], "label": int(first == "good")})
            rows["copa"].append(
                {
                    "premise": texts[0],
                    "question": "cause",
                    "choice1": f"{sentence('good', stream)} {index}",
                    "choice2": f"{sentence('bad', stream)} {index}",
                    "label": int(first == "bad"),
                    "idx": index,
                }
            )
        for name, found in rows.items():
            (root / name).mkdir(exist_ok=True)
            write_split(root / name / f"{split}.jsonl", found)
    return root


def make(model: Path, folder: Path, source: str, **changes: object) -> RunConfig:
    table = {
        "rounds": 2,
        "model": {"name": str(model), "max_length": 32, "device": "cpu"},
        "data": {"source": source, "directory": str(folder / source), "validation": 0.2},
        "partition": {"kind": "iid", "clients": 2},
        "method": {"name": "fedtt", "rank": 2, "bottleneck": 8},
        "client": {"steps": 8, "batch_size": 8, "learning_rate": 0.03},
    }
    return parse_config(table | changes, where="test")


def test_a_regression_learns_numbers(tiny_bert: Path, folder: Path, tmp_path: Path) -> None:
    summary = run(make(tiny_bert, folder, "stsb"), tmp_path / "run")
    assert list(summary["test"]) == ["pearson", "spearman", "constant", "loss"]
    assert summary["score"] == {"name": "pearson", "higher_is_better": True}
    assert summary["test"]["loss"][MEAN] < summary["before"]["loss"][MEAN] / 2
    # One output: a weight and a bias of the head, 32 + 1.
    assert summary["exchanged_parameters"]["head"] == 33


def test_a_named_task_is_judged_by_its_own_metric_first(
    tiny_bert: Path, folder: Path, tmp_path: Path
) -> None:
    config = make(tiny_bert, folder, "copa", evaluation={"validation_examples": 5, "alone": False})
    summary = run(config, tmp_path / "run")
    assert summary["score"]["name"] == next(iter(summary["test"])) == "choice_accuracy"
    assert summary["test"]["choice_accuracy"][MEAN] * 24 % 1 == pytest.approx(0, abs=1e-9)
    counts = json.loads((tmp_path / "run" / "data.json").read_text())["clients"]["all"]
    assert counts["validation"] == 4  # two whole questions of two choices each, at most five


def test_label_words_come_from_the_catalog(tiny_llama: Path, folder: Path, tmp_path: Path) -> None:
    words = {"kind": "label-words", "words": ["bad", "good"], "prompt": "{text} was"}
    summary = run(make(tiny_llama, folder, "sst2", task=words), tmp_path / "run")
    assert summary["score"]["name"] == "accuracy"
    with pytest.raises(ConfigError, match="not one token"):  # the catalog's: negative, positive
        run(make(tiny_llama, folder, "sst2", task={"kind": "label-words"}), tmp_path / "own")


def test_answers_to_questions_are_written_and_scored(
    tiny_llama: Path, folder: Path, tmp_path: Path
) -> None:
    config = make(
        tiny_llama, folder, "squad", evaluation={"validation_examples": 4, "alone": False}
    )
    assert config.task.kind == "generation"
    summary = run(config, tmp_path / "run")
    assert summary["score"] == {"name": "f1", "higher_is_better": True}
    assert list(summary["test"])[:2] == ["f1", "exact_match"]
    assert summary["test"]["perplexity"][MEAN] < 0.8 * summary["before"]["perplexity"][MEAN]


@pytest.mark.parametrize(
    ("source", "task", "message"),
    [
        ("stsb", {"kind": "label-words"}, "'stsb' is for task.kind = 'regression', and it is 'lab"),
        ("stsb", {"kind": "classification"}, "for task.kind = 'regression', and it is 'class"),
        ("sst2", {"kind": "generation"}, "for task.kind = 'classification' or 'label-words', and"),
        ("sentiment-silos", {"kind": "regression"}, "for task.kind = 'classification' or 'label-"),
        ("squad", {"prompt": "context"}, "task.prompt go with data.path: 'squad' has its own"),
    ],
)
def test_a_source_is_for_its_tasks(
    tiny_llama: Path, folder: Path, source: str, task: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(tiny_llama, folder, "", data={"source": source}, task=task)


def test_label_words_of_a_file_are_its_owners(tiny_llama: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="needs prompt and words"):
        make(
            tiny_llama,
            folder,
            "sst2",
            data={"path": str(folder / "sst2" / "train.jsonl")},
            task={"kind": "label-words"},
        )


def test_a_regression_on_a_file_of_ones_own(tiny_bert: Path, folder: Path, tmp_path: Path) -> None:
    own = {
        "data": {
            "path": str(folder / "stsb" / "train.jsonl"),
            "text_column": "sentence1",
            "pair_column": "sentence2",
            "test": 0.2,
            "validation": 0.2,
        },
        "task": {"kind": "regression"},
    }
    summary = run(make(tiny_bert, folder, "", **own), tmp_path / "run")
    assert summary["score"]["name"] == "pearson"
    assert summary["test"]["loss"][MEAN] < summary["before"]["loss"][MEAN] / 2
    with pytest.raises(RunError, match=r"answers pairs of texts"):
        fedtt.open_run(tmp_path / "run").predict("good")
    pairs = [("a good film", "a great film"), ("a good film", "a poor film")]
    table = pd.DataFrame(pairs, columns=["sentence1", "sentence2"])
    asked = fedtt.open_run(tmp_path / "run")
    model, tokenizer = asked.model()
    with torch.no_grad():
        numbers = [
            model.eval()(**tokenizer(*pair, return_tensors="pt")).logits.item() for pair in pairs
        ]
    assert asked.predict(table)["value"].tolist() == pytest.approx(numbers, rel=1e-4)
    assert numbers[0] != numbers[1]
    with pytest.raises(DataError, match=r"no column 'sentence2'"):
        asked.predict(table[["sentence1"]])
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "good", "label": 1.5}\n{"text": "bad", "label": "much"}\n')
    with pytest.raises(DataError, match=r"a label is no number\n  where: .*bad.jsonl:2"):
        build_federation(
            make(tiny_bert, folder, "", data={"path": str(bad)}, task={"kind": "regression"})
        )
