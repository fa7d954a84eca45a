import re
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.config.strategies import SECTIONS, tables

from fedtt.config import (
    config_differences,
    dump_config,
    load_config,
    parse_config,
    parse_method,
    parse_methods,
)
from fedtt.config.overrides import set_key
from fedtt.errors import ConfigError
from fedtt.model_place import MODEL_ALIASES
from fedtt.models import ALIASES

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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(table=tables())
def test_a_dumped_config_reads_back_the_same(tmp_path: Path, table: dict) -> None:
    config = parse_config(table, where="test")
    path = tmp_path / "config.toml"
    path.write_bytes(dump_config(config).encode())
    again = load_config(path)
    assert again == config
    assert config_differences(config, again) == []


def test_what_can_be_left_out_is_left_out_by_default() -> None:
    """TOML has no null: a key whose default is a value could not be set to "none"."""
    for section in SECTIONS:
        for name, field in section.model_fields.items():
            if type(None) in get_args(field.annotation):
                assert field.default is None, f"{section.__name__}.{name}"


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
        "client.max_grad_norm=0",
        "client.weight_decay=",
    )
    assert config.client.learning_rate == 1e-3
    assert config.method.in_modes == (8, 8, 6)
    assert config.model.name == "some/model"
    assert config.client.max_grad_norm == 0
    assert config.client.weight_decay == 0.01
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


def test_a_model_in_the_file_is_beside_the_file_or_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "configs", tmp_path / "elsewhere"
    for directory in (folder / "here", elsewhere / "there", folder / "minilm"):
        directory.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)

    def name_of(name: str, *overrides: str) -> str:
        return load(MINIMAL.replace("minilm", name), folder, *overrides).model.name

    assert name_of("minilm") == "minilm"  # an alias wins over a folder of that name
    assert name_of("org/model") == "org/model"
    assert name_of("here") == str(folder / "here")
    assert name_of("./gone") == str(folder / "gone")  # a path, whether or not it is there
    assert name_of("minilm", "model.name=there") == str(elsewhere / "there")
    assert name_of("minilm", "model={name='there'}") == str(elsewhere / "there")
    assert name_of("minilm", "model.name=./gone") == str(elsewhere / "gone")
    with pytest.raises(ConfigError, match=r"model\.name is relative to the file"):
        name_of("there")


@pytest.mark.parametrize("path", [r"no\u0000tes.csv", "loop/notes.csv"])
@pytest.mark.parametrize("key", ["data.path", "model.name"])
def test_what_can_be_no_path_is_refused_with_its_key(tmp_path: Path, key: str, path: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    files = {"data.path": 'source = "sentiment-silos"', "model.name": 'name = "minilm"'}
    text = MINIMAL.replace(files[key], f'{key.split(".")[1]} = "{path}"')
    with pytest.raises(ConfigError, match=rf"can lie there\n  where: {key}\n  got: '.*csv': "):
        load(text, tmp_path)
    grid = f'\n[[compare.settings]]\nname = "one"\nset = {{ "{key}" = "{path}" }}\n'
    with pytest.raises(ConfigError, match=rf"can lie there\n  where: {key}"):
        load(MINIMAL + grid, tmp_path)


def test_the_aliases_are_those_of_the_models() -> None:
    assert set(MODEL_ALIASES) == set(ALIASES)


def test_an_unknown_user_in_a_path_is_no_special_path(tmp_path: Path) -> None:
    text = MINIMAL.replace('source = "sentiment-silos"', 'path = "~no-such-user/my.csv"')
    assert load(text, tmp_path).data.path == tmp_path / "~no-such-user" / "my.csv"


def test_a_value_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """As the command line hands on bytes that are not: as half a surrogate pair."""
    with pytest.raises(ConfigError, match=r"data.text_column\n  got: 'caf\\udce9'"):
        load(MINIMAL, tmp_path, "data.text_column=caf\udce9")


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


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            {"name": "fedt"},
            "method.name: got 'fedt'; no method is called 'fedt'. Did you mean 'f",
        ),
        ({"name": "{fedtt}"}, "no method is called '{fedtt}'"),
        ({"rank": 4}, "method.name: missing"),
        ({"name": 3}, "method.name: got 3; input should be a valid string"),
        ({"name": "lora", "rank": "x"}, "method.rank: got 'x'; input should be a valid integer"),
        ({"name": "lora", "rnk": 1}, "method.rnk: unknown key; did you mean 'method.rank'?"),
        ("lora", "method: got 'lora'; "),
        ({"name": "peft:"}, "method.name: got 'peft:'; string should match"),
    ],
)
def test_a_method_that_is_none_is_refused_by_its_key(method: object, message: str) -> None:
    table = {"rounds": 1, "model": {"name": "minilm"}, "data": {"source": "sst2"}}
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_config({**table, "method": method}, where="the test")


def test_an_override_goes_to_the_methods_that_have_its_key() -> None:
    sections = parse_methods(["fedtt", "lora", "head"], overrides=["bottleneck=8", "rank=3"])
    assert list(sections) == ["fedtt", "lora", "head"]
    assert (sections["fedtt"].bottleneck, sections["fedtt"].rank) == (8, 3)
    assert sections["lora"].rank == 3
    with pytest.raises(ConfigError, match=r"method.bottlenek: .* did you mean 'method.bottleneck'"):
        parse_methods(["lora", "fedtt"], overrides=["bottlenek=8"])
    with pytest.raises(ConfigError, match=r"method.alpha: unknown key"):
        parse_methods(["fedtt"], overrides=["alpha=8"])
    with pytest.raises(ConfigError, match="cannot read an override"):
        parse_methods(["fedtt"], overrides=["rank"])


@pytest.mark.parametrize("preset", sorted(Path("presets").glob("*.toml")), ids=lambda p: p.name)
def test_every_preset_is_valid(preset: Path) -> None:
    load_config(preset)


@pytest.mark.parametrize("value", [0, -1, 2.5, "many", True])
def test_a_budget_of_tokens_is_a_count_or_auto(value: object) -> None:
    table = {
        "rounds": 2,
        "model": {"name": "minilm"},
        "data": {"source": "sentiment-silos"},
        "method": {"name": "fedtt"},
        "cohort": {"max_tokens": value},
    }
    with pytest.raises(ConfigError, match=r"cohort.max_tokens: got .* 1 or more, or 'auto'"):
        parse_config(table, where="the test")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["north", "north"], "two sites have the same name"),
        (["../up"], "'../up' is no site's name: at most 63 letters, digits, - and _"),
        (["a b"], "is no site's name"),
        ([], "at least 1 item"),
    ],
)
def test_names_of_sites(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(f"{MINIMAL}\n[sites]\nnames = {names}", tmp_path)


@pytest.mark.parametrize("first_line", ["", "# A comment first.\n"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, first_line: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (first_line + MINIMAL).replace("\n", "\r\n").encode())
    assert load_config(path) == load(MINIMAL, tmp_path)


def test_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(MINIMAL.encode("utf-16"))
    with pytest.raises(ConfigError, match=r"not UTF-8 text\n.*\n.*\n  fix: save the file as UTF-8"):
        load_config(path)


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 5000 + "]" * 5000])
def test_what_no_reader_of_toml_bears_is_refused_with_the_file(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML\n  where: .*config\.toml"):
        load(f"seed = {value}\n{MINIMAL}", tmp_path)
    with pytest.raises(ConfigError, match=r"seed: got "):
        load(MINIMAL, tmp_path, f"seed={value}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", True),
        ("rounds", True),
        ("evaluation.every", False),
        ("client.learning_rate", True),
        ("method.rank", True),
        ("method.in_modes", [True, 8]),
        ("model.device_map", {"layer": True}),
        ("data.label_values", [1, True]),
        ("cohort.max_tokens", True),
        ("partition", {"kind": "labels", "proportions": [[True, False]]}),
    ],
)
def test_a_boolean_is_no_number(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        parse_config(set_key(tomllib.loads(MINIMAL), key, value, where=key), where="here")


def test_what_is_no_boolean_keeps_its_reading() -> None:
    table = set_key(tomllib.loads(MINIMAL), "seed", 1, where="seed")
    table = set_key(table, "evaluation.alone", value=False, where="alone")
    config = parse_config(table, where="here")
    assert (config.seed, config.evaluation.alone) == (1, False)


@pytest.mark.parametrize(
    ("section", "value", "meant"),
    [
        ("model", "minilm", "model.name"),
        ("method", "lora", "method.name"),
        ("data", "sst2", "data.source"),
        ("data", "tickets.csv", "data.path"),
        ("task", "classification", "task.kind"),
        ("partition", "iid", "partition.kind"),
        ("wire", "plain", "wire.codec"),
    ],
)
def test_a_value_in_place_of_a_section(section: str, value: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"{section}: got '{value}'.* did you mean '{meant}'"):
        parse_config(set_key(tomllib.loads(MINIMAL), section, value, where=section), where="here")


@pytest.mark.parametrize("section", ["client", "cohort", "server", "evaluation", "sites", "track"])
def test_a_section_with_no_usual_key_says_its_keys(section: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{section}: got \[3\]; this is a section; known in it:"
    ):
        parse_config(set_key(tomllib.loads(MINIMAL), section, [3], where=section), where="here")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rounds", np.int64(2)),
        ("client.learning_rate", np.float32(0.5)),
        ("evaluation.alone", np.True_),
    ],
)
def test_a_number_of_numpy_is_a_number(key: str, value: np.generic) -> None:
    table = set_key(tomllib.loads(MINIMAL), key, value, where=key)
    assert parse_config(table, where="here") == parse_config(
        set_key(table, key, value.item(), where=key), where="here"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rounds", "2", "text is no number: write it without quotes"),
        ("rounds", 2.0, "this has to be a whole number: write 2"),
        ("client.learning_rate", "1e-3", "text is no number"),
        ("client.steps", 4.0, "a whole number: write 4"),
        ("method.in_modes", ["4", 8], "text is no number"),
        ("method.subspace.size", "90", "text is no number"),
        ("server.update_norm", "0.5", "text is no number"),
        ("evaluation.alone", "true", "expected true or false, without quotes"),
        ("evaluation.alone", 1, "expected true or false, without quotes"),
        ("task.date", 86_400, "a number is no date"),
        ("data.path", 5, "input should be a path, in quotes"),
    ],
)
def test_a_value_of_another_type_is_refused(key: str, value: object, message: str) -> None:
    table = set_key(tomllib.loads(MINIMAL), key, value, where=key)
    with pytest.raises(ConfigError, match=rf"{key}(\.\w+)*: got .*; .*{re.escape(message)}"):
        parse_config(table, where="here")


def test_a_whole_number_is_a_number_and_the_command_line_needs_no_quotes(tmp_path: Path) -> None:
    whole = load(MINIMAL + "[client]\nlearning_rate = 1\n", tmp_path)
    assert whole.client.learning_rate == 1.0
    said = ("rounds=02", "client.learning_rate=.5", "evaluation.alone=False", "seed='7'")
    config = load(MINIMAL, tmp_path, *said, "method.subspace.size=90", "data.client_column=me")
    assert config.seed == 7
    assert (config.rounds, config.client.learning_rate, config.evaluation.alone) == (2, 0.5, False)
    assert type(config.data.client_column) is str
    assert load(dump_config(config), tmp_path) == config


def test_a_section_in_a_section_says_its_keys_and_suggests_them() -> None:
    for key, value, message in (
        ("method.subspace", 7000, "known in it: size, redraw, balance"),
        ("method.subspace", {"sise": 7}, "did you mean 'method.subspace.size'"),
        ("privacy.client", 3, "known in it: [a-z]"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config(set_key(tomllib.loads(MINIMAL), key, value, where=key), where="here")


def test_a_list_is_called_a_list() -> None:
    with pytest.raises(ConfigError, match=r"sites.names: got 'a'; input should be a list"):
        parse_config(set_key(tomllib.loads(MINIMAL), "sites.names", "a", where="n"), where="here")


def test_a_key_below_a_plain_value_says_what_to_leave_out(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('model = "minilm"')
    with pytest.raises(ConfigError, match=r"got: model = 'minilm'\n.*\n.*set model.name alone"):
        load_config(path, overrides=["model.name=x"])
