"""What a server cannot make a site read, load or tell."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from tests.sites.in_process import FACTS
from tests.tiny import write_reviews

from fedtt.config import RunConfig, TaskConfig, dump_config
from fedtt.errors import ConfigError, DataError
from fedtt.sites.frames import Frame
from fedtt.sites.site_data import HELD, SiteData
from fedtt.sites.site_worker import Worker

MakeConfig = Callable[..., RunConfig]
SECRET = "Jane Doe, born 1970"


@pytest.fixture
def config(make_config: MakeConfig, reviews: Path) -> RunConfig:
    data = {"path": str(reviews), "label_names": ["bad", "good"], "test": 0.2, "validation": 0.2}
    return make_config(data=data, cohort={"batched": "off"}, sites={"names": ["north"]})


@pytest.fixture
def agreed(config: RunConfig, tmp_path: Path) -> Path:
    path = tmp_path / "agreed.toml"
    path.write_text(dump_config(config))
    return path


def asked_for(config: RunConfig, **changes: dict[str, object]) -> dict[str, object]:
    """The server's configuration as it comes over the network, with some keys changed."""
    table: dict[str, dict[str, object]] = json.loads(config.model_dump_json(exclude_none=True))
    for section, keys in changes.items():
        table[section] |= keys
    return dict(table)


def test_an_agreed_configuration_says_which_columns_are_read_and_which_model_is_loaded(
    config: RunConfig, agreed: Path, tmp_path: Path
) -> None:
    data = write_reviews(tmp_path / "north.jsonl", clients={"north": 30})
    table = asked_for(
        config,
        data={"text_column": "diagnosis", "label_column": "name", "client_column": "doctor"},
        model={"name": "somebody/else", "revision": "1"},
    )
    held = SiteData(name="north", data=data, agreed=agreed).config(table)
    assert (held.data.text_column, held.data.label_column) == ("text", "label")
    assert held.data.client_column == "client"
    assert (held.model.name, held.model.revision) == (config.model.name, None)
    assert held.data.path == data.resolve()
    for section, keys in HELD.items():
        for key in keys:
            wanted = getattr(getattr(config, section), key)
            assert getattr(getattr(held, section), key) == wanted


def test_the_day_that_chats_are_written_on_is_the_servers_unless_another_was_agreed_to(
    config: RunConfig, tmp_path: Path
) -> None:
    task = {"kind": "generation", "messages": "messages"}
    data = config.data.model_copy(update={"label_names": None})
    chats = config.model_copy(update={"task": TaskConfig(**task), "data": data})
    path = tmp_path / "agreed.toml"
    path.write_text(dump_config(chats))
    site = SiteData(name="north", data=tmp_path / "chats.jsonl", agreed=path)
    day = asked_for(chats, task={"date": "2024-02-05"})
    assert site.config(day).task.date == date(2024, 2, 5)
    path.write_text(
        dump_config(chats.model_copy(update={"task": TaskConfig(**task, date=date(2024, 2, 6))}))
    )
    with pytest.raises(ConfigError, match=r"task\.date: '2024-02-06' -> '2024-02-05'"):
        site.config(day)


def test_a_site_may_still_say_otherwise_itself(
    config: RunConfig, agreed: Path, tmp_path: Path
) -> None:
    data = write_reviews(tmp_path / "north.jsonl", clients={"north": 30})
    site = SiteData(name="north", data=data, agreed=agreed, overrides=["data.text_column=sentence"])
    assert site.config(asked_for(config)).data.text_column == "sentence"


def test_what_is_agreed_is_not_the_servers_to_change(
    config: RunConfig, agreed: Path, tmp_path: Path
) -> None:
    data = write_reviews(tmp_path / "north.jsonl", clients={"north": 30})
    site = SiteData(name="north", data=data, agreed=agreed)
    with pytest.raises(ConfigError, match="not the one agreed to"):
        site.config(asked_for(config, client={"batch_size": 1}))


def test_errors_of_data_are_not_told_to_the_server(config: RunConfig, tmp_path: Path) -> None:
    data = tmp_path / "north.jsonl"
    write_reviews(data, clients={"north": 30})
    with data.open("a") as file:
        file.write(json.dumps({"text": "fine", "label": SECRET, "client": "north"}) + "\n")
    heard: list[str] = []
    worker = Worker(SiteData(name="north", data=data), tell=heard.append, should_stop=lambda: False)
    hello = {
        "do": "hello",
        "epoch": "1",
        "run": "0" * 32,
        "config": asked_for(config),
        "facts": FACTS,
    }
    reply = worker.answer(Frame(content=hello))
    assert "DataError at the site" in reply.content["unfit"]
    assert SECRET not in json.dumps(reply.content)
    assert isinstance(worker.problem, DataError)
    assert SECRET in str(worker.problem), "the site itself sees what is wrong"


@pytest.mark.parametrize(
    ("sites", "line"),
    [
        ({"names": ["north", "mallory"]}, r"sites.names: north -> mallory, north"),
        ({"names": ["south"]}, r"sites.names: north -> south"),
        ({"min_replies": 1}, r"sites.min_replies: 2 -> 1"),
    ],
)
def test_a_server_that_speaks_of_other_sites_than_agreed_is_refused(
    config: RunConfig, tmp_path: Path, sites: dict[str, object], line: str
) -> None:
    stated = config.sites.model_copy(update={"min_replies": 2})
    path = tmp_path / "agreed.toml"
    path.write_text(dump_config(config.model_copy(update={"sites": stated})))
    data = write_reviews(tmp_path / "north.jsonl", clients={"north": 30})
    site = SiteData(name="north", data=data, agreed=path)
    with pytest.raises(ConfigError, match=rf"not the one agreed to:\n  - {line}"):
        site.config(asked_for(config, sites={"min_replies": 2, **sites}))
    same = {"names": ["north"], "min_replies": 2, "deadline": 5.0, "patience": 7.0}
    assert site.config(asked_for(config, sites=same)).sites.deadline == 5.0


def test_a_server_names_no_file_of_a_site(config: RunConfig, agreed: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "north.jsonl", clients={"north": 30})
    table = asked_for(config, data={"test_path": "/srv/other/patients.csv"})
    for known in (agreed, None):
        assert SiteData(name="north", data=data, agreed=known).config(table).data.test_path is None
    own = SiteData(name="north", data=data, overrides=[f"data.test_path={data}"]).config(table)
    assert own.data.test_path == data
