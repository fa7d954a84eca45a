"""``extends``: what is taken from another file, what goes over it, and what is refused."""

import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from fedtt.cli.begin import check_apart
from fedtt.config import dump_config, load_comparison, load_config
from fedtt.config.extended_file import laid_over
from fedtt.config.overrides import flatten
from fedtt.config.parse import read_table
from fedtt.errors import ConfigError
from fedtt.preset_files import preset_files

RUN = """
rounds = 20
seed = 7
[model]
name = "minilm"
max_length = 64
[data]
path = "texts.csv"
[method]
name = "lora"
rank = 8
"""
COMPARISON = """
rounds = 20
[model]
name = "minilm"
[data]
source = "sentiment-silos"
[compare]
seeds = [0, 1]
[[compare.settings]]
name = "all"
[[compare.methods]]
name = "lora"
set = { method.name = "lora" }
"""


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_keys_of_both_and_the_own_ones_over_the_others(tmp_path: Path) -> None:
    written(tmp_path / "base.toml", RUN)
    longer = written(
        tmp_path / "longer.toml",
        'extends = "base.toml"\nrounds = 60\n[model]\nmax_length = 32\n[client]\nsteps = 5\n',
    )
    config = load_config(longer)
    assert (config.rounds, config.seed, config.client.steps) == (60, 7, 5)
    assert (config.model.name, config.model.max_length, config.method.rank) == ("minilm", 32, 8)
    assert "extends" not in dump_config(config)


def test_the_paths_of_each_file_are_relative_to_it(tmp_path: Path) -> None:
    written(tmp_path / "shared" / "base.toml", RUN)
    own = written(
        tmp_path / "site" / "own.toml",
        'extends = "../shared/base.toml"\n[data]\ntest_path = "held-out.csv"\n',
    )
    config = load_config(own)
    assert config.data.path == tmp_path / "shared" / "texts.csv"
    assert config.data.test_path == tmp_path / "site" / "held-out.csv"


def test_a_chain_of_files_and_a_preset_at_its_end(tmp_path: Path) -> None:
    written(tmp_path / "silos-short.toml", 'extends = "silos"\nrounds = 2\n')
    last = written(tmp_path / "last.toml", 'extends = "silos-short.toml"\nseed = 3\n')
    preset = load_config("silos")
    assert load_config(last) == load_config("silos", overrides=["rounds=2", "seed=3"])
    assert load_config(last) != preset


def test_a_file_beside_it_goes_before_the_preset_of_that_name(tmp_path: Path) -> None:
    assert "silos" in preset_files()
    written(tmp_path / "silos", RUN)
    own = written(tmp_path / "own.toml", 'extends = "silos"\n')
    assert load_config(own).seed == 7


def test_a_file_of_that_name_in_the_working_directory_is_not_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "elsewhere" / "silos", RUN)
    own = written(tmp_path / "here" / "own.toml", 'extends = "silos"\n')
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_config(own) == load_config(preset_files()["silos"])


def test_what_is_set_goes_over_both(tmp_path: Path) -> None:
    written(tmp_path / "base.toml", RUN)
    own = written(tmp_path / "own.toml", 'extends = "base.toml"\nrounds = 60\n')
    config = load_config(own, overrides=["rounds=3", "model.max_length="])
    assert (config.rounds, config.model.max_length) == (3, 128)


def test_a_comparison_takes_the_axes_of_another_and_brings_its_own_methods(tmp_path: Path) -> None:
    written(tmp_path / "short.toml", COMPARISON)
    more = written(
        tmp_path / "more.toml",
        'extends = "short.toml"\nrounds = 60\n[[compare.methods]]\nname = "fedtt"\n'
        'set = { method.name = "fedtt" }\n',
    )
    comparison = load_comparison(more)
    assert comparison.base["rounds"] == 60
    assert comparison.compare.seeds == (0, 1)
    assert [method.name for method in comparison.compare.methods] == ["fedtt"]


def test_a_comparison_takes_neither_method_nor_seed_of_a_run(tmp_path: Path) -> None:
    written(tmp_path / "run.toml", RUN)
    own = written(
        tmp_path / "own.toml",
        'extends = "run.toml"\n' + COMPARISON[COMPARISON.index("[compare]") :],
    )
    comparison = load_comparison(own)
    assert comparison.base["model"]["max_length"] == 64
    assert not {"method", "seed"} & set(comparison.base)


def test_a_comparison_that_names_a_method_itself_is_still_refused(tmp_path: Path) -> None:
    written(tmp_path / "run.toml", RUN)
    text = 'extends = "run.toml"\nseed = 1\n' + COMPARISON[COMPARISON.index("[compare]") :]
    with pytest.raises(ConfigError, match="seed has no place"):
        load_comparison(written(tmp_path / "own.toml", text))


def test_a_run_takes_no_comparison(tmp_path: Path) -> None:
    written(tmp_path / "comparison.toml", COMPARISON)
    own = written(
        tmp_path / "own.toml", 'extends = "comparison.toml"\nmethod = { name = "fedtt" }\n'
    )
    assert load_config(own).rounds == 20


def test_an_empty_text_takes_a_key_away(tmp_path: Path) -> None:
    """The texts of one's own in the place of a preset's source."""
    own = written(
        tmp_path / "own.toml",
        'extends = "silos"\n[data]\nsource = ""\npath = "mine.csv"\n[server]\nweighting = ""\n',
    )
    config = load_config(own)
    assert (config.data.source, config.data.path) == (None, tmp_path / "mine.csv")
    assert config.server.weighting == "examples"


@pytest.mark.parametrize(
    ("section", "other"),
    [
        ("method", '{ name = "fedtt" }'),
        ("partition", '{ kind = "iid", clients = 3 }'),
        ("task", '{ kind = "language-modeling" }'),
    ],
)
def test_a_section_about_another_thing_takes_nothing_over(
    tmp_path: Path, section: str, other: str
) -> None:
    base = {
        "method": '{ name = "lora", rank = 8, subspace = { size = 9 } }',
        "partition": '{ kind = "dirichlet", alpha = 0.1, clients = 9 }',
        "task": '{ kind = "label-words", prompt = "{text}", words = ["no", "yes"] }',
    }
    tables = {name: tomllib.loads(f"x = {value}")["x"] for name, value in base.items()}
    written(tmp_path / "base.toml", tomli_w.dumps(tables))
    own = written(tmp_path / "own.toml", f'extends = "base.toml"\n{section} = {other}\n')
    assert read_table(own)[section] == tomllib.loads(f"x = {other}")["x"]
    same = written(tmp_path / "same.toml", f'extends = "base.toml"\n[{section}]\nmore = 1\n')
    assert read_table(same)[section] == {**tables[section], "more": 1}


def test_a_run_is_not_overwritten_that_holds_what_its_configuration_extends(
    tmp_path: Path,
) -> None:
    written(tmp_path / "runs" / "first" / "config.toml", RUN)
    again = written(tmp_path / "again.toml", 'extends = "runs/first/config.toml"\nrounds = 3\n')
    with pytest.raises(ConfigError, match="what it extends"):
        check_apart(again, tmp_path / "runs" / "first")
    check_apart(again, tmp_path / "runs" / "second")


@pytest.mark.parametrize("value", ["3", '""', '["a.toml"]', "true", r'"a\u0000b.toml"', '"loop"'])
def test_what_is_no_name_of_a_file_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    own = written(tmp_path / "own.toml", f"extends = {value}\nrounds = 2\n")
    with pytest.raises(ConfigError, match=r"extends names no configuration|cannot be used"):
        load_config(own)


def test_a_file_that_is_not_there_is_named_with_the_one_that_asks_for_it(tmp_path: Path) -> None:
    own = written(tmp_path / "own.toml", 'extends = "absent.toml"\nrounds = 2\n')
    with pytest.raises(ConfigError) as caught:
        load_config(own)
    assert "own.toml" in str(caught.value)
    assert "absent.toml" in str(caught.value)


def test_an_unknown_preset_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    own = written(tmp_path / "own.toml", 'extends = "silo"\nrounds = 2\n')
    with pytest.raises(ConfigError, match="silos"):
        load_config(own)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_is_refused_with_its_way_round(tmp_path: Path, length: int) -> None:
    for index in range(length):
        below = (index + 1) % length
        written(tmp_path / f"{index}.toml", f'extends = "./{below}.toml"\nrounds = 2\n')
    with pytest.raises(ConfigError, match="extends itself") as caught:
        load_config(tmp_path / "0.toml")
    assert str(caught.value).count(".toml extends ") == length


def test_sections_in_sections_are_refused_where_they_are_too_deep(tmp_path: Path) -> None:
    deep = ".".join(["a"] * 900)
    written(tmp_path / "base.toml", f"[{deep}]\nb = 1\n")
    own = written(tmp_path / "own.toml", f'extends = "base.toml"\n[{deep}]\nc = 1\n')
    with pytest.raises(ConfigError):
        load_config(own)


TABLES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=3),
    lambda below: st.dictionaries(st.sampled_from("abc"), below | st.integers(), max_size=3),
    max_leaves=8,
)


@given(below=TABLES, above=TABLES)
def test_every_value_is_of_one_of_both_and_the_upper_one_goes_first(
    below: dict, above: dict
) -> None:
    table = laid_over(below, above)
    assert laid_over(table, above) == table
    assert set(table) == set(below) | set(above)
    lower, upper, both = flatten(below), flatten(above), flatten(table)
    leaves = {key: value for key, value in upper.items() if value != {}}
    assert leaves.items() <= both.items()
    assert all(upper.get(key, lower.get(key, {})) == value for key, value in both.items())


def test_the_paths_that_an_axis_sets_are_relative_to_the_file_that_has_them(tmp_path: Path) -> None:
    axes = COMPARISON[COMPARISON.index("[compare]") :].replace(
        'name = "all"', 'name = "all"\nset = { data.test_path = "held-out.csv" }'
    )
    written(tmp_path / "shared" / "run.toml", RUN)
    written(tmp_path / "shared" / "short.toml", f'extends = "run.toml"\n{axes}')
    own = written(
        tmp_path / "site" / "own.toml",
        'extends = "../shared/short.toml"\n[[compare.methods]]\nname = "fedtt"\n'
        'set = { method.name = "fedtt", "data.directory" = "words" }\n',
    )
    comparison = load_comparison(own)
    (setting,), (method,) = comparison.compare.settings, comparison.compare.methods
    assert setting.set == {"data.test_path": str(tmp_path / "shared" / "held-out.csv")}
    assert method.set["data.directory"] == str(tmp_path / "site" / "words")
