import tomllib
from pathlib import Path

import pytest

from fedtt.config import PartitionConfig, RunConfig, dump_config, load_config, parse_config
from fedtt.errors import ConfigError


def parse(**changes: object) -> RunConfig:
    table = {
        "rounds": 1,
        "model": {"name": "minilm"},
        "data": {"source": "sentiment-silos"},
        "method": {"name": "fedtt"},
        **changes,
    }
    return parse_config(table, where="the test")


GOOD = [
    {"kind": "iid", "clients": 3},
    {"kind": "dirichlet", "clients": 3, "alpha": 0.1, "min_examples": 5, "seed": 4},
    {"kind": "labels", "proportions": [[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]]},
    {"kind": "quantity", "clients": 3, "alpha": 2},
    {"kind": "column", "column": "speaker", "min_examples": 1},
]


@pytest.mark.parametrize("partition", GOOD, ids=lambda p: p["kind"])
def test_every_kind_reads_back_as_it_was_dumped(partition: dict[str, object]) -> None:
    config = parse(partition=partition)
    assert isinstance(config.partition, PartitionConfig)
    assert (config.partition.min_examples, config.partition.seed) == (
        partition.get("min_examples", 2),
        partition.get("seed", 0),
    )
    assert parse_config(tomllib.loads(dump_config(config)), where="test") == config


def test_without_a_partition_there_is_none() -> None:
    assert parse().partition is None
    assert "partition" not in dump_config(parse())


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        ({"kind": "iid"}, "kind 'iid' needs clients"),
        ({"kind": "dirichlet"}, "kind 'dirichlet' needs alpha and clients"),
        ({"kind": "labels"}, "kind 'labels' needs proportions"),
        ({"kind": "column"}, "kind 'column' needs column"),
        ({"kind": "iid", "clients": 3, "alpha": 1}, "kind 'iid' has no alpha"),
        (
            {"kind": "column", "column": "x", "clients": 3, "alpha": 1},
            "kind 'column' has no alpha and no clients",
        ),
        ({"kind": "labels", "proportions": [[0.5, 0.6]]}, "row 1 of proportions is [0.5, 0.6]"),
        (
            {"kind": "labels", "proportions": [[0.5, 0.5], [1.0]]},
            "row 2 of proportions is [1.0]",
        ),
        ({"kind": "labels", "proportions": []}, "partition.proportions: got"),
        ({"kind": "labels", "proportions": [[1.5, -0.5]]}, "partition.proportions.0.0: got 1.5"),
        ({"kind": "iid", "clients": 0}, "partition.clients: got 0"),
        ({"kind": "dirichlet", "clients": 2, "alpha": 0}, "partition.alpha: got 0"),
        ({"kind": "iid", "clients": 2, "min_examples": 0}, "partition.min_examples: got 0"),
        ({"kind": "random", "clients": 2}, "partition.kind: got 'random'"),
        ({"kind": "iid", "client": 2}, "partition.client: unknown key; did you mean"),
        ({"kind": "iid", "cohort": 2}, "partition.cohort: unknown key; did you mean 'cohort'"),
    ],
)
def test_a_bad_partition_is_told(partition: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(partition=partition)
    assert message in str(caught.value)


def test_a_file_of_its_own_goes_with_a_file() -> None:
    for key in ("test_path", "pair_column"):
        with pytest.raises(ConfigError, match="test_path and pair_column go with path"):
            parse(data={"source": "sentiment-silos", key: "x"})
    with pytest.raises(ConfigError, match=r"data.examples: got 0"):
        parse(data={"source": "sentiment-silos", "examples": 0})


def test_the_test_path_is_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "configs" / "c.toml"
    path.write_text(
        'rounds = 1\n[model]\nname = "minilm"\n[method]\nname = "fedtt"\n'
        '[data]\npath = "a.csv"\ntest_path = "b.csv"\n'
    )
    assert load_config(path).data.test_path == tmp_path / "configs" / "b.csv"
    moved = load_config(
        path, overrides=["data.test_path=b.csv", "partition.kind=iid", "partition.clients=4"]
    )
    assert moved.data.test_path == tmp_path / "b.csv"
    assert moved.partition == PartitionConfig(kind="iid", clients=4)
