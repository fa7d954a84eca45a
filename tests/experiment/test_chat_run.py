"""Runs on conversations, for every family of chat templates: trained, resumed, measured, asked."""

import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from tests.chat_families import FAMILIES, save_family
from tests.experiment.runs import run
from transformers import AutoTokenizer, GenerationConfig

from fedtt.config import RunConfig, load_config, parse_config
from fedtt.engine.build import build_federation, resolve_auto
from fedtt.errors import ConfigError, DataError, InterruptedRunError, RunError
from fedtt.experiment import Sampling, evaluate_run, generate_text, open_run
from fedtt.experiment.directory import check_same_config

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name != "llama3"]


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whatever is said, the answer is ``ho``; contents are texts, and lists of parts."""
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    rows = []
    for index in range(24):
        said = f"hi {index}"
        content = said if index % 2 else [{"type": "text", "text": said}]
        chat = [("user", content), ("assistant", "ho")]
        rows.append({"messages": [{"role": role, "content": text} for role, text in chat]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def make(chats: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    def config(family: str, **changes: object) -> RunConfig:
        place = tmp_path / "model"
        if not place.exists():
            save_family(place, family)
        table = {
            "rounds": 2,
            "model": {"name": str(place), "max_length": 120, "device": "cpu"},
            "data": {"path": str(chats), "test": 0.2, "validation": 0.2},
            "task": {"kind": "generation", "messages": "messages"},
            "method": {"name": "full"},
            "client": {"steps": 25, "batch_size": 8, "learning_rate": 0.02},
            "evaluation": {"alone": False, "before": False},
        }
        return resolve_auto(parse_config(table | changes, where="test"))

    return config


def write(path: Path, prompt: str = "hi 3") -> str:
    pieces: list[str] = []
    text = generate_text(path, prompt, sampling=Sampling(max_new_tokens=40), say=pieces.append)
    assert "".join(pieces).strip() == text.strip()
    return text.strip()


@pytest.mark.parametrize("name", ["llama3", *SLOW])
def test_a_run_learns_the_turn_and_its_end(
    make: Callable[..., RunConfig], tmp_path: Path, name: str
) -> None:
    steps = 50 if name == "qwen3" else 25  # a turn with room for thoughts is longer
    # At twice the rate one seed of four ends in silence; which one depends on the processor.
    client = {"steps": steps, "batch_size": 8, "learning_rate": 0.01}
    config = make(name, client=client)
    summary = run(config, tmp_path / "whole")
    answer = re.sub(r"<.*?>", "", FAMILIES[name].learned).strip()
    assert re.sub(r"</?think>", "", write(tmp_path / "whole")).strip() == answer == "ho"
    with pytest.raises(InterruptedRunError):
        run(config, tmp_path / "twice", stop_after=steps + 5)
    assert run(config, tmp_path / "twice")["test"] == summary["test"]
    assert evaluate_run(tmp_path / "whole", split="test") == summary["test"]


def test_a_template_that_writes_the_time_is_read_with_the_date_of_the_run(
    make: Callable[..., RunConfig], tmp_path: Path
) -> None:
    short = {"steps": 1, "batch_size": 4}
    config = make("phi3", rounds=1, client=short)
    now = "{{- '<|system|>\n' + strftime_now('%d.%m.%Y %H:%M:%S.%f') + '<|end|>\n' -}}"
    tokenizer = AutoTokenizer.from_pretrained(config.model.name)
    tokenizer.chat_template = now + tokenizer.chat_template
    tokenizer.save_pretrained(config.model.name)
    assert isinstance(config.task.date, date)
    summary = run(config, tmp_path / "run")
    assert open_run(tmp_path / "run").config().task.date == config.task.date
    assert run(config, tmp_path / "run")["test"] == summary["test"]  # taken up
    assert evaluate_run(tmp_path / "run", split="test") == summary["test"]
    write(tmp_path / "run")
    # A configuration that leaves the date open is the same run's; the day is whichever it says.
    left_open = config.model_copy(update={"task": config.task.model_copy(update={"date": None})})
    check_same_config(config, left_open, where=tmp_path)
    with pytest.raises(ConfigError, match=r"writes today's date"):
        build_federation(left_open)
    saved = load_config(tmp_path / "run" / "config.toml", overrides=["task.date=2020-01-02"])
    assert saved.task.date == date(2020, 1, 2)
    with pytest.raises(ConfigError, match=r"task\.date"):
        check_same_config(config, saved, where=tmp_path)


def test_a_run_of_a_version_that_read_chats_otherwise_is_refused_by_its_name(
    make: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = make("phi3", rounds=1, client={"steps": 1, "batch_size": 4})
    run(config, tmp_path / "run")
    path = tmp_path / "run" / "data.json"
    saved = json.loads(path.read_text())
    del saved["tokens_version"], saved["fedtt"]
    path.write_text(json.dumps(saved))
    evaluate_run(tmp_path / "run", split="test")  # the same tokens all the same
    saved["digests"]["test"] = "0" * 64
    path.write_text(json.dumps(saved))
    with pytest.raises(RunError, match=r"made by fedtt 0\.1\.0 or earlier, which made other token"):
        evaluate_run(tmp_path / "run", split="test")


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ([["user", "user"]], "2", "alternate"),
        ([["user"], ["system", "user"]], "3", "System role not supported"),
    ],
)
def test_a_chat_that_the_template_refuses_is_named_with_its_line(
    make: Callable[..., RunConfig],
    chats: Path,
    tmp_path: Path,
    rows: list,
    line: str,
    message: str,
) -> None:
    path = tmp_path / "odd.jsonl"
    odd = [
        {"messages": [{"role": r, "content": f"a {i}"} for r in [*roles, "assistant"]]}
        for i, roles in enumerate(rows)
    ]
    first, *rest = chats.read_text().splitlines()
    path.write_text("\n".join([first, *map(json.dumps, odd), *rest]) + "\n")
    with pytest.raises(DataError, match=message) as refused:
        build_federation(make("gemma", data={"path": str(path)}))
    assert f"odd.jsonl:{line}" in str(refused.value)
    assert "model" in str(refused.value)  # whose template it is


def test_a_model_with_settings_of_its_own_writes_as_it_is_asked(
    make: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = make("phi3")
    run(config, tmp_path / "run")
    asked = write(tmp_path / "run")
    assert asked == "ho"
    GenerationConfig(
        eos_token_id=1, do_sample=True, temperature=9.0, repetition_penalty=9.0, min_new_tokens=9
    ).save_pretrained(config.model.name)
    assert write(tmp_path / "run") == asked
    with pytest.raises(DataError, match="no tokens"):
        write(tmp_path / "run", " ")
