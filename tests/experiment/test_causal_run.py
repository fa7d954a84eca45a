"""Runs of a causal language model, whole: trained, resumed, measured, asked, written with."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.experiment.runs import run
from tests.tiny import sentence

from fedtt.config import RunConfig, parse_config
from fedtt.engine.build import Federation, build_federation
from fedtt.errors import ConfigError, DataError, InterruptedRunError, RunError
from fedtt.experiment import Sampling, evaluate_run, generate_text, open_run, predict_texts
from fedtt.params import structure_of


def chat(role: str, content: object) -> dict:
    return {"role": role, "content": content}


TASKS = {
    "language-modeling": {"kind": "language-modeling"},
    "label-words": {
        "kind": "label-words",
        "prompt": "the {text} was",
        "words": ["bad", "good"],
    },
    "generation": {"kind": "generation", "prompt": "{text} was", "completion": "label"},
    "answers": {
        "kind": "generation",
        "prompt": "{text} was",
        "completion": "answers.text",
        "answers": "squad",
        "max_new_tokens": 2,
    },
    "chat": {"kind": "generation", "messages": "messages"},
}


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clients whose sentences end in the label, in every form that a task can read."""
    path = tmp_path_factory.mktemp("stories") / "stories.jsonl"
    stream, rows = random.Random(3), []
    for client, count in {"north": 24, "south": 36}.items():
        for index in range(count):
            label = "good" if index % 2 else "bad"
            text = sentence(label, stream)
            chat = [("the", text), ("assistant", label)]
            rows.append(
                {
                    "text": text,
                    "label": label,
                    "client": client,
                    "answers": {"text": [label, "so"], "answer_start": [0, 1]},
                    "messages": [{"role": role, "content": content} for role, content in chat],
                }
            )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def make(tiny_llama: Path, stories: Path) -> Callable[..., RunConfig]:
    def config(name: str, **changes: object) -> RunConfig:
        table = {
            "rounds": 3,
            "model": {"name": str(tiny_llama), "max_length": 24, "device": "cpu"},
            "data": {"path": str(stories), "test": 0.2, "validation": 0.2},
            "task": TASKS[name],
            "method": {"name": "fedtt", "rank": 2, "bottleneck": 8},
            "client": {"steps": 12, "batch_size": 8, "learning_rate": 0.03},
            "evaluation": {"alone": False},
        }
        return parse_config(table | changes, where="test")

    return config


@pytest.mark.parametrize(
    "task",
    [
        task if task == "label-words" else pytest.param(task, marks=pytest.mark.slow)
        for task in TASKS
    ],
)
def test_a_run_learns_resumes_and_is_measured_again(
    make: Callable[..., RunConfig], tmp_path: Path, task: str
) -> None:
    config = make(task)
    summary = run(config, tmp_path / "whole")
    score = summary["score"]["name"]
    losses = [record["loss"] for record in open_run(tmp_path / "whole").rounds()]
    assert losses[-1] < losses[0]  # of training: there is too little data for any other
    with pytest.raises(InterruptedRunError):
        run(config, tmp_path / "twice", stop_after=33)  # in the second round
    resumed = run(config, tmp_path / "twice")
    assert resumed["test"] == summary["test"]
    assert evaluate_run(tmp_path / "whole", split="test")[score] == summary["test"][score]
    assert summary["lora_reference"]["uplink_bytes"] > 0


def test_a_run_with_label_words_classifies_texts(
    make: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = make("label-words")
    summary = run(config, tmp_path / "run")
    assert summary["score"]["name"] == "accuracy"
    predictions = predict_texts(tmp_path / "run", ["the superb film", "a horrid plot"])
    assert set(predictions[0].probabilities) == {"bad", "good"}
    assert sum(predictions[0].probabilities.values()) == pytest.approx(1.0)
    run(make("language-modeling"), tmp_path / "writes")
    with pytest.raises(RunError, match="fedtt generate"):
        predict_texts(tmp_path / "writes", ["good"])


def test_a_run_writes_as_it_goes_and_the_same_for_the_same_seed(
    make: Callable[..., RunConfig], tmp_path: Path
) -> None:
    run(make("chat"), tmp_path / "run")
    pieces: list[str] = []
    sampling = Sampling(max_new_tokens=8, temperature=1.0, seed=5)
    text = generate_text(tmp_path / "run", "good film", sampling=sampling, say=pieces.append)
    assert "".join(pieces).split() == text.split()
    assert len(pieces) > 1
    again = generate_text(tmp_path / "run", "good film", sampling=sampling, say=lambda _: None)
    assert again == text
    with pytest.raises(ConfigError, match="more than the model has positions for"):
        generate_text(
            tmp_path / "run", "a", sampling=Sampling(max_new_tokens=64), say=lambda _: None
        )


def test_a_classifier_does_not_write(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    run(make_config(rounds=1), tmp_path / "run")
    with pytest.raises(RunError, match="says what texts are, it does not write them"):
        generate_text(tmp_path / "run", "a", sampling=Sampling(), say=lambda _: None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client": {"logit_adjustment": 1.0}}, "need classes"),
        ({"partition": {"kind": "dirichlet", "clients": 2, "alpha": 1}}, "need classes"),
        ({"task": {"kind": "label-words", "words": ["a", "b"]}}, "needs prompt"),
        ({"task": {"kind": "classification", "prompt": "{text}"}}, "has no prompt"),
        ({"task": {"kind": "generation", "messages": "m", "prompt": "p"}}, "take the place of"),
    ],
)
def test_keys_that_do_not_go_together(
    make: Callable[..., RunConfig], changes: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make("language-modeling", **changes)


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("chat", {"messages": [{"role": "user", "content": "good"}]}, "cannot be learned from"),
        ("chat", {"messages": "no list"}, "no list of messages"),
        ("chat", {"messages": [chat("user", " "), chat("assistant", "a")]}, "message 1: an empty"),
        ("chat", {"messages": [chat("user", "a"), chat("user", "b")]}, "last message is of role"),
        ("chat", {"messages": [chat("user", "a"), {"content": "b"}]}, "message 2: no role"),
        (
            "chat",
            {"messages": [chat("user", [{"type": "image"}]), chat("assistant", "b")]},
            r"message 1: a part that is no text \('image'\)",
        ),
        ("answers", {"text": "a", "answers": {"text": []}}, "a completion is no text"),
        ("answers", {"text": "a", "answers": {"spans": ["b"]}}, "a completion is no text"),
        ("generation", {"text": " ", "label": "good"}, "a part of a prompt is empty"),
        ("generation", {"text": "a"}, "has no column 'label'"),
    ],
)
def test_a_bad_row_is_named(
    make: Callable[..., RunConfig], tmp_path: Path, task: str, row: dict, message: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=message):
        build_federation(make(task, data={"path": str(path)}))


def test_answers_longer_than_the_positions_are_refused_before_the_weights(
    make: Callable[..., RunConfig],
) -> None:
    def build(new: int) -> Federation:
        return build_federation(make("answers", task=TASKS["answers"] | {"max_new_tokens": new}))

    measured = [pool for s in ("validation", "test") for pool in build(2).splits[s].values()]
    longest = max(  # what is learned ends a text: the label and the end token
        len(pool.input_ids(i)) - 2 for pool in measured for i in range(len(pool))
    )
    build(64 - longest)
    for absurd in (65 - longest, 10_000_000):
        with pytest.raises(ConfigError, match="more than the model has positions for"):
            build(absurd)


def test_a_part_of_a_prompt_may_be_empty(make: Callable[..., RunConfig], tmp_path: Path) -> None:
    path = tmp_path / "alpaca.jsonl"
    inputs = ["film", "", None, "  "] * 6
    rows = [
        {"instruction": "so good", "input": given, "output": f"a {i}"}
        for i, given in enumerate(inputs)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"kind": "generation", "prompt": "{instruction} {input}", "completion": "output"}
    federation = build_federation(make("generation", data={"path": str(path)}, task=task))
    prompts = {
        federation.tokenizer.decode(texts.input_ids(i)[:-3])
        for held in federation.splits.values()
        for texts in held.values()
        for i in range(len(texts))
    }
    assert prompts == {"so good film", "so good"}
    rows[3]["instruction"] = " "
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"(?s)a part of a prompt is empty.*jsonl:4"):
        build_federation(make("generation", data={"path": str(path)}, task=task))


def test_a_revision_of_a_local_model_is_noted(
    make: Callable[..., RunConfig], tiny_llama: Path
) -> None:
    model = {"name": str(tiny_llama), "max_length": 24, "revision": "v2"}
    notes = build_federation(make("generation", model=model)).notes
    assert any("model.revision = 'v2' is not used" in note for note in notes)


@pytest.mark.parametrize("task", ["language-modeling", "label-words", "generation"])
def test_clients_that_train_together_are_clients_one_by_one(
    make: Callable[..., RunConfig], tmp_path: Path, task: str
) -> None:
    adjusted = {"logit_adjustment": 1.0} if task == "label-words" else {}
    client = {"steps": 3, "batch_size": 5, "learning_rate": 0.01, **adjusted}
    ends = {}
    for batched in ("auto", "off"):
        config = make(task, rounds=2, client=client, cohort={"batched": batched})
        run(config, tmp_path / batched)
        structure = structure_of(build_federation(config).initial.params)
        ends[batched] = open_run(tmp_path / batched).load_state(expected=structure).params
    start = build_federation(make(task)).initial.params
    for name, one_by_one in ends["off"].items():
        moved = float((one_by_one - start[name]).abs().max())
        gap = float((ends["auto"][name] - one_by_one).abs().max())
        assert gap <= 2e-3 * moved + 1e-6, name
