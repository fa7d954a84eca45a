"""From the config's sections to clients: the parts meet as they should, also on real files."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fedtt.config import RunConfig
from fedtt.data import FederatedData, describe_shared, summarize_clients
from fedtt.engine.data import build_data
from fedtt.errors import ConfigError, DataError

MakeConfig = Callable[..., RunConfig]
# Beside the repository, or wherever FEDTT_GLUE says: a folder for each task with its two files.
GLUE = Path(os.environ.get("FEDTT_GLUE", Path(__file__).parents[3] / "shared" / "data" / "glue"))


def build(make_config: MakeConfig, **sections: object) -> FederatedData:
    config = make_config(**sections)
    return build_data(config.data, config.partition)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """200 rows of three classes, 120 + 60 + 20, and speakers of unequal size."""
    path = tmp_path / "rows.jsonl"
    table = [
        {"text": f"text {i}", "label": "abc"[(i >= 120) + (i >= 180)], "speaker": f"s{i % 7 % 4}"}
        for i in range(200)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


PARTITIONS = [
    {"kind": "iid", "clients": 5},
    {"kind": "dirichlet", "clients": 5, "alpha": 0.3},
    {"kind": "quantity", "clients": 5, "alpha": 3},
    {"kind": "labels", "proportions": [[0.8, 0.1, 0.1], [0.4, 0.5, 0.1]]},
    {"kind": "column", "column": "speaker"},
]


@pytest.mark.parametrize("partition", PARTITIONS, ids=lambda p: p["kind"])
def test_every_kind_covers_every_example_once_and_shares_the_rest(
    make_config: MakeConfig, rows: Path, partition: dict[str, object]
) -> None:
    data = build(make_config, data={"path": str(rows)}, partition=partition)
    held = [text for client in data.clients for text in client.train.texts]
    shared = [text for texts in data.shared.values() for text in texts.texts]
    assert Counter(held + shared) == Counter(f"text {i}" for i in range(200))
    assert {split: len(texts) for split, texts in data.shared.items()} == {
        "validation": 20,
        "test": 30,
    }
    expected = {"labels": 2, "column": 4}.get(str(partition["kind"]), 5)
    assert len(data.clients) == expected
    assert data == build(make_config, data={"path": str(rows)}, partition=partition)


def test_the_partitions_seed_moves_train_only_and_the_split_seed_everything(
    make_config: MakeConfig, rows: Path
) -> None:
    def data(seed: int, split_seed: int) -> FederatedData:
        return build(
            make_config,
            data={"path": str(rows), "split_seed": split_seed},
            partition={"kind": "iid", "clients": 4, "seed": seed},
        )

    assert data(0, 0).shared == data(1, 0).shared
    assert data(0, 0).clients != data(1, 0).clients
    assert data(0, 0).shared != data(0, 1).shared


def test_natural_clients_own_what_their_column_says(make_config: MakeConfig, rows: Path) -> None:
    data = build(
        make_config, data={"path": str(rows)}, partition={"kind": "column", "column": "speaker"}
    )
    assert [client.client_id for client in data.clients] == ["s0", "s1", "s2", "s3"]
    for client in data.clients:
        for text in client.train.texts:
            assert f"s{int(text.split()[1]) % 7 % 4}" == client.client_id


def test_clients_whose_names_differ_by_case_only_are_noted(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    lines = [f"text {i},{'ab'[i % 2]},{['north', 'North'][i % 3 == 0]}" for i in range(60)]
    path.write_text("\n".join(["text,label,client", *lines]))
    data = build(make_config, data={"path": str(path)})
    assert len(data.client_ids) == 2
    assert "'North' and 'north'" in " ".join(data.notes)


def test_a_natural_client_without_a_training_example_is_no_client(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    table = [{"text": f"t {i}", "label": i % 2, "who": f"w{i}"} for i in range(100)]
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    partition = {"kind": "column", "column": "who", "min_examples": 1}
    data = build(make_config, data={"path": str(path)}, partition=partition)
    assert len(data.clients) == 75  # 15 are in test and 10 in validation
    assert data.notes[-1] == "25 values of who have no training example and are no client."
    with pytest.raises(DataError, match=r"client 'w\d+'\n  got: 1 of 75 (.|\n)*lower min_examples"):
        build(make_config, data={"path": str(path)}, partition={"kind": "column", "column": "who"})


def test_a_source_has_no_columns(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"no columns to partition by(.|\n)*sentiment-silos"):
        build(
            make_config,
            data={"source": "sentiment-silos"},
            partition={"kind": "column", "column": "client"},
        )


def test_a_part_of_the_data_comes_before_everything_else(
    make_config: MakeConfig, rows: Path
) -> None:
    data = build(
        make_config,
        data={"path": str(rows), "examples": 80},
        partition={"kind": "iid", "clients": 4},
    )
    assert [len(client.train) for client in data.clients] == [15] * 4  # 80 - 12 - 8
    assert (len(data.shared["test"]), len(data.shared["validation"])) == (12, 8)
    assert "80 of 200 examples used, a random part (data.examples)." in data.notes


TASKS = {
    "sst2": ({"text_column": "sentence"}, 67_349, 872),
    "cola": ({"text_column": "sentence"}, 8551, 1043),
    "mrpc": ({"text_column": "sentence1", "pair_column": "sentence2"}, 3668, 408),
    "rte": ({"text_column": "sentence1", "pair_column": "sentence2"}, 2490, 277),
}


@pytest.mark.skipif(not GLUE.is_dir(), reason="no GLUE files here: set FEDTT_GLUE")
@pytest.mark.parametrize(
    "task", [pytest.param("sst2", marks=pytest.mark.slow), "cola", "mrpc", "rte"]
)
def test_the_glue_tasks(make_config: MakeConfig, task: str) -> None:
    columns, train, test = TASKS[task]
    section = {
        "path": str(GLUE / task / "train.parquet"),
        "test_path": str(GLUE / task / "validation.parquet"),
        **columns,
    }
    clients = 1000 if task == "sst2" else 10
    partition = {"kind": "dirichlet", "clients": clients, "alpha": 0.1}
    data = build(make_config, data=section, partition=partition)
    held = sum(len(client.train) for client in data.clients) + len(data.shared["validation"])
    left_out = train - held
    assert 0 <= left_out < 0.01 * train
    assert any("left out" in note for note in data.notes) == (left_out > 0)
    assert len(data.shared["test"]) == test
    assert (data.shared["test"].pairs is not None) == ("pair_column" in columns)
    summary = summarize_clients(data)
    assert summary.majority_shares.median > 0.9
    assert summary.sizes.largest - summary.sizes.smallest <= 1
    shared = describe_shared(data)
    assert shared is not None
    assert shared.test == test
