"""``[data] source``: from the config to the clients of a named task."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.named_rows import write_rows

from fedtt.config import RunConfig, dump_config, load_config
from fedtt.data import TASKS
from fedtt.engine.data import build_data
from fedtt.errors import ConfigError, DataError

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def sst2(tmp_path: Path) -> Path:
    folder = tmp_path / "sst2"
    folder.mkdir()
    rows = [{"sentence": f"text {i}", "label": i % 2} for i in range(120)]
    write_rows(folder / "train.csv", rows[:100])
    write_rows(folder / "validation.csv", rows[90:])  # ten of them are in train too
    return folder


def test_clients_share_the_published_validation_split(make_config: MakeConfig, sst2: Path) -> None:
    config = make_config(
        data={"source": "sst2", "directory": str(sst2)},
        partition={"kind": "dirichlet", "clients": 3, "alpha": 1},
    )
    data = build_data(config.data, config.partition)
    assert data.label_names == ("negative", "positive")
    assert len(data.clients) == 3
    assert len(data.shared["test"]) == 30
    assert len(data.shared["validation"]) + sum(len(c.train) for c in data.clients) == 90
    assert any(note.startswith("10 of 100 examples left out") for note in data.notes)


def test_a_named_task_is_its_files_read_as_ones_own(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i % 9}", "label": i % 2} for i in range(80)]
    train = write_rows(tmp_path / "train.parquet", rows[:60])
    test = write_rows(tmp_path / "validation.parquet", rows[50:])
    named = {"source": "mrpc", "directory": str(tmp_path)}
    own = {
        "path": str(train),
        "test_path": str(test),
        "text_column": "sentence1",
        "pair_column": "sentence2",
        "label_names": ["not_equivalent", "equivalent"],
    }
    partition = {"kind": "dirichlet", "clients": 3, "alpha": 1}
    first, second = (
        build_data(config.data, config.partition)
        for config in (make_config(data=data, partition=partition) for data in (named, own))
    )
    assert first.clients == second.clients
    assert first.shared == second.shared
    assert first.label_names == second.label_names


def test_without_a_partition_it_is_one_client(make_config: MakeConfig, sst2: Path) -> None:
    config = make_config(data={"source": "sst2", "directory": str(sst2)})
    (client,) = build_data(config.data).clients
    assert (client.client_id, len(client.train)) == ("sst2", 81)  # 90 less a tenth


def test_a_directory_is_relative_to_the_file(sst2: Path) -> None:
    path = sst2.parent / "run.toml"
    path.write_text(
        'rounds = 1\nmodel = { name = "minilm" }\nmethod = { name = "fedtt" }\n'
        'data = { source = "sst2", directory = "sst2" }\n'
    )
    config = load_config(path)
    assert config.data.directory == sst2
    path.write_text(dump_config(config))
    assert load_config(path) == config


@pytest.mark.parametrize("name", [t.name for t in TASKS.values() if t.name != "banking77"])
def test_every_task_can_be_a_source(make_config: MakeConfig, name: str) -> None:
    assert make_config(data={"source": name}).data.source == name


BAD = {
    "name": ({"source": "sst-2"}, r"data.source: got 'sst-2'; did you mean 'sst2'\?"),
    "far name": ({"source": "imagenet"}, r"expected one of sentiment-silos, sst2, mrpc"),
    "silos": ({"source": "sentiment-silos", "directory": "x"}, "directory goes with the name of"),
    "file": ({"path": "x.csv", "directory": "x"}, "directory goes with the name of a task"),
    "names": ({"source": "sst2", "label_names": ["a", "b"]}, "label_names goes with path"),
    "pair with itself": ({"path": "x.csv", "pair_column": "text"}, "a text is no pair with itself"),
    "pair": ({"source": "mrpc", "pair_column": "b"}, "test_path and pair_column go with path"),
}


@pytest.mark.parametrize("case", BAD)
def test_keys_that_do_not_go_together(make_config: MakeConfig, case: str) -> None:
    data, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        make_config(data=data)


def test_a_task_has_no_columns_to_partition_by(make_config: MakeConfig, sst2: Path) -> None:
    config = make_config(
        data={"source": "sst2", "directory": str(sst2)},
        partition={"kind": "column", "column": "idx"},
    )
    with pytest.raises(ConfigError, match="no columns to partition by"):
        build_data(config.data, config.partition)


def test_groups_reach_the_clients_whole(make_config: MakeConfig, tmp_path: Path) -> None:
    rows = [
        {
            "premise": f"Premise {i}.",
            "choice1": "One.",
            "choice2": "Two.",
            "question": "cause",
            "label": i % 2,
        }
        for i in range(40)
    ]
    write_rows(tmp_path / "train.jsonl", rows[:30])
    write_rows(tmp_path / "validation.jsonl", rows[30:])
    data = {"source": "copa", "directory": str(tmp_path), "examples": 41, "validation": 0.2}
    built = build_data(make_config(data=data).data)
    (client,) = built.clients
    assert len(client) == 40  # twenty pairs of choices; half a pair is none
    assert (len(client.validation), len(built.shared["test"])) == (8, 20)
    assert len(set(client.validation.groups or ())) == 4


def test_a_broken_row_names_its_line(make_config: MakeConfig, sst2: Path) -> None:
    (sst2 / "train.csv").write_text("sentence,label\na,1\nb,maybe\nc,0\n")
    config = make_config(data={"source": "sst2", "directory": str(sst2)})
    with pytest.raises(DataError, match=r"mix integers and names\n  where: .*train\.csv:3"):
        build_data(config.data)


def test_a_file_of_ones_own_takes_five_lines(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": "bug" if i % 3 else "praise"} for i in range(40)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "tickets.jsonl").write_text(lines)
    (tmp_path / "own.toml").write_text(
        'rounds = 2\nmodel = { name = "minilm" }\ndata = { path = "tickets.jsonl" }\n'
        'partition = { kind = "iid", clients = 3 }\nmethod = { name = "fedtt" }\n'
    )
    config = load_config(tmp_path / "own.toml")
    assert len(build_data(config.data, config.partition).clients) == 3
