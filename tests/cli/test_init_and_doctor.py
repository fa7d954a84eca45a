"""A configuration made from a data file trains as it is; what is missing is said; every verb has
a row on the page of commands.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
import typer.main

import fedtt
from fedtt.cli.app import app
from fedtt.cli.doctor_command import missing_extras
from fedtt.config import RunConfig, dump_config, load_config
from fedtt.extras import EXTRAS, Extra
from fedtt.models import ALIASES

MakeConfig = Callable[..., RunConfig]
Command = Callable[..., str]
ROOT = Path(__file__).parents[2]


def test_what_init_writes_trains_as_it_is(
    command: Command, reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    shown = command("init", "--data", reviews, "--model", tiny_bert, "--out", "deep.toml", "--json")
    assert json.loads(shown)["rows"] == 134
    text = (tmp_path / "deep.toml").read_text()
    assert "# 3 clients" in text
    assert "# 2 classes" in text
    quick = ["rounds=2", "client.steps=1", "evaluation.alone=false"]
    run = fedtt.train(tmp_path / "deep.toml", run=tmp_path / "r", overrides=quick, progress=False)
    assert len(run.rounds) == 2
    assert "--overwrite" in command("init", "--data", reviews, "--out", "deep.toml", code=2)


def test_init_finds_columns_or_says_which_there_are(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('Review,stars,"a ""name"""\ngood,5,x\nbad,1,y\n')
    command("init", "--data", "a.csv", "--client-column", 'a "name"')
    config = load_config(tmp_path / "a.toml")
    assert (config.data.text_column, config.data.label_column) == ("Review", "stars")
    assert config.data.client_column == 'a "name"'
    assert config.data.path == tmp_path / "a.csv"
    (tmp_path / "b.csv").write_text("words,label\ngood,5\nbad,1\n")
    assert "'words', 'label'" in command("init", "--data", "b.csv", code=2)
    command("init", "--data", "b.csv", "--text-column", "words")
    assert load_config(tmp_path / "b.toml").partition is not None
    assert "cannot be read" in command("init", "--data", "gone.csv", code=2)
    assert "Did you mean" in command(
        "init", "--data", "a.csv", "--method", "fedt", "--out", "c.toml", code=2
    )
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "b.csv", "a.toml", "b.toml"}


def test_init_takes_any_name_and_only_columns_that_are_there(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("text \U0001f600\x7f,label\ngood,5\nbad,1\n", encoding="utf-8")
    (tmp_path / ".a.toml.new.toml").write_text("precious")
    command("init", "--data", "a.csv", "--text-column", "text \U0001f600\x7f")
    assert load_config(tmp_path / "a.toml").data.text_column == "text \U0001f600\x7f"
    assert (tmp_path / ".a.toml.new.toml").read_text() == "precious"
    refused = command(
        "init", "--data", "a.csv", "--text-column", "client", "--out", "b.toml", code=2
    )
    assert "not in the file" in refused


@pytest.mark.parametrize("model", ["minilm", "smollm2"])
def test_doctor_says_how_to_get_a_packaged_model_that_is_not_there(
    command: Command,
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    (tmp_path / "c.toml").write_text(
        dump_config(make_config(model={"name": model, "max_length": 16}))
    )
    gone = replace(ALIASES[model], package="no_such_package", hub_id=str(tmp_path / "offline"))
    monkeypatch.setitem(ALIASES, model, gone)  # type: ignore[arg-type]
    shown = command("doctor", "c.toml", code=1)
    assert f"missing: {gone.install}" in shown.replace("\n", " ")
    # What stands for the hub when it answers: nothing is missing then.
    found = replace(gone, hub_id=str(make_config().model.name))
    monkeypatch.setitem(ALIASES, model, found)  # type: ignore[arg-type]
    assert json.loads(command("doctor", "c.toml", "--json"))["config"]["problems"] == []


def test_doctor_says_what_the_trackers_of_a_configuration_need(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(track={"to": ["tensorboard", "wandb"]})
    for name, module in (("tensorboard", "json"), ("wandb", "no_such_module")):
        monkeypatch.setitem(EXTRAS, name, Extra(purpose=name, modules=(module,)))  # type: ignore[arg-type]
    assert missing_extras(config) == ["wandb"]


@pytest.mark.slow
def test_doctor_says_what_is_missing_for_a_configuration(
    command: Command, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = {"clipping_norm": 1.0, "noise_multiplier": 1.0, "delta": 1e-3}
    config = make_config(privacy={"client": noise}, server={"weighting": "uniform"})
    (tmp_path / "c.toml").write_text(dump_config(config))
    found = json.loads(command("doctor", "c.toml", "--json"))
    assert found["config"]["problems"] == []
    assert found["config"]["memory_bytes"] > found["config"]["base_bytes"] > 0
    gone = Extra(purpose="noise", modules=("no_such_module",))
    monkeypatch.setitem(EXTRAS, "privacy", gone)  # type: ignore[arg-type]
    shown = command("doctor", "c.toml", code=1)
    assert "missing: pip install 'fedtt[privacy]': noise" in shown
    command("doctor")


def test_doctor_says_what_sites_need_and_which_file_is_not_there(
    command: Command, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = dump_config(make_config(sites={"names": ["a", "b"]}))
    (tmp_path / "c.toml").write_text(text)
    assert json.loads(command("doctor", "c.toml", "--json"))["config"]["problems"] == []
    gone = Extra(purpose="sites", modules=("no_such_module",))
    monkeypatch.setitem(EXTRAS, "flower", gone)  # type: ignore[arg-type]
    absent = ["c.toml", "--set", "data.path=gone.csv", "--json"]
    shown = command("doctor", *absent, code=1)  # every site brings data of its own
    assert json.loads(shown)["config"]["problems"] == ["pip install 'fedtt[flower]': sites"]
    (tmp_path / "c.toml").write_text(dump_config(make_config(sites={"deadline": 90})))
    assert "missing" not in command("doctor", "c.toml")
    assert json.loads(command("doctor", *absent, code=1))["config"]["problems"] == [
        f"data.path: no file {tmp_path / 'gone.csv'}; --set data.path=FILE takes another",
    ]


def verbs() -> dict[str, set[str]]:
    """Every verb of the command line, and its options."""
    found = {}

    def walk(group: click.Group, name: str) -> None:
        for verb, inner in group.commands.items():
            if isinstance(inner, click.Group) or hasattr(inner, "commands"):
                walk(inner, f"{name} {verb}")  # type: ignore[arg-type]
            else:
                found[f"{name} {verb}"] = {o for p in inner.params for o in p.opts}

    walk(typer.main.get_group(app), "fedtt")  # type: ignore[arg-type]
    return found


def test_the_page_of_commands_has_every_verb() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| `(fedtt [a-z ]+)` \|[^|]+\|([^|]+)\|", page, flags=re.MULTILINE)
    assert {verb for verb, _ in rows} == set(verbs())
    with_json = {verb for verb, prints in rows if prints.strip()}
    assert with_json == {verb for verb, options in verbs().items() if "--json" in options}


def test_extras_are_those_of_the_package() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS) == set(extras["optional-dependencies"]) - {"dev", "docs", "bench"}
