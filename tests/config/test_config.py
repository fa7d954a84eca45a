import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.config import (
    METHOD_SECTIONS,
    RunConfig,
    config_differences,
    dump_config,
    load_config,
    parse_config,
    parse_method,
)
from fedtt.errors import ConfigError

MINIMAL = """
rounds = 2
[model]
name = "minilm"
[data]
source = "sentiment-silos"
[method]
name = "fedtt"
"""


def load(text: str, tmp_path: Path, *overrides: str):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_config(path, overrides=overrides)


def test_a_minimal_config_gets_the_documented_defaults(tmp_path: Path) -> None:
    config = load(MINIMAL, tmp_path)
    assert (config.seed, config.rounds) == (0, 2)
    assert (config.method.rank, config.method.bottleneck, config.method.bias) == (5, 64, False)
    assert config.cohort.size is None
    assert config.client.max_grad_norm == 1.0


@given(
    st.integers(0, 2**31),
    st.integers(1, 99),
    st.floats(1e-6, 1, allow_nan=False),
    st.none() | st.integers(1, 9),
    st.sampled_from([None, (8, 8)]),
)
def test_a_dumped_config_reads_back_the_same(seed, rounds, rate, size, modes) -> None:
    table = {
        **tomllib.loads(MINIMAL),
        "seed": seed,
        "rounds": rounds,
        "client": {"learning_rate": rate},
        "cohort": {} if size is None else {"size": size},
    }
    if modes:
        table["method"] = {"name": "fedtt", "out_modes": modes}
    config = parse_config(table, where="test")
    assert parse_config(tomllib.loads(dump_config(config)), where="test") == config
    assert config_differences(config, config) == []


def test_differences_name_the_keys_and_both_values(tmp_path: Path) -> None:
    first = load(MINIMAL, tmp_path)
    second = load(MINIMAL, tmp_path, "client.steps=4", "seed=9")
    assert config_differences(first, second) == ["client.steps: None -> 4", "seed: 0 -> 9"]
    other = load(MINIMAL, tmp_path, "method.name=lora")
    assert "method.alpha: None -> 16.0" in config_differences(first, other)


def test_overrides_are_toml_values_words_or_removals(tmp_path: Path) -> None:
    config = load(
        MINIMAL,
        tmp_path,
        "client.learning_rate=1e-3",
        "method.in_modes=[8, 8, 6]",
        "model.name=some/model",
        "client.max_grad_norm=",
    )
    assert config.client.learning_rate == 1e-3
    assert config.method.in_modes == (8, 8, 6)
    assert config.model.name == "some/model"
    assert config.client.max_grad_norm == 1.0
    with pytest.raises(ConfigError, match="goes through a plain value"):
        load(MINIMAL, tmp_path, "rounds.x=3")


def test_paths_are_relative_to_the_file_and_in_overrides_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    text = MINIMAL.replace('source = "sentiment-silos"', 'path = "my.csv"')
    text = text.replace('"minilm"', '"model"')
    config = load(text, tmp_path / "configs")
    assert config.data.path == tmp_path / "configs" / "my.csv"
    assert config.model.name == str(tmp_path / "configs" / "model")
    moved = load(text, tmp_path / "configs", "data.path=other.csv")
    assert moved.data.path == tmp_path / "other.csv"


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"rouns": 1, "model": {}, "method": {"name": "fedtt", "rank": 0}}, where="x")
    message = str(caught.value)
    for part in ("rounds: missing", "model.name: missing", "data: missing", "method.rank: got 0"):
        assert part in message
    assert "rouns: unknown key; did you mean 'rounds'?" in message


def test_a_method_section_by_name() -> None:
    assert parse_method("lora", overrides=["rank=4"]).rank == 4
    with pytest.raises(ConfigError, match=r"method.rank: got -1"):
        parse_method("fedtt", overrides=["rank=-1"])


@pytest.mark.parametrize("preset", sorted(Path("presets").glob("*.toml")), ids=lambda p: p.name)
def test_every_preset_is_valid(preset: Path) -> None:
    load_config(preset)


def test_the_documentation_names_every_key() -> None:
    text = Path("docs/configuration.md").read_text()
    named = set(re.findall(r"`([a-z_0-9]+)`", text))
    annotations = [field.annotation for field in RunConfig.model_fields.values()]
    sections = [part for a in annotations for part in (a, *get_args(a))]  # Section | None as well
    keys = {"seed", "rounds", *(key for method in METHOD_SECTIONS for key in method.model_fields)}
    for section in sections:
        keys |= set(getattr(section, "model_fields", {}))
    assert keys - named == set()
