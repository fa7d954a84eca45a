"""A comparison's file: what is read, what is refused, and what every cell's run becomes."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.config import (
    Comparison,
    all_cells,
    cell_config,
    check_cells,
    config_differences,
    dump_comparison,
    load_comparison,
    tuning_cell,
    tuning_config,
)
from fedtt.config.compare import MethodVariantConfig
from fedtt.engine.build_method import build_method
from fedtt.errors import ConfigError, ModelError
from fedtt.methods import METHODS as TABLE
from fedtt.methods import method_entry

BASE = """
rounds = 4
model = { name = "minilm" }
data = { source = "sentiment-silos" }
client = { steps = 5 }
"""
METHODS = """
[[compare.methods]]
name = "fedtt+"
set = { "method.name" = "fedtt", "method.rank" = 3 }
grid = { "client.learning_rate" = [2e-3, 5e-3] }
[[compare.methods]]
name = "lora"
set = { method.name = "lora" }
grid = { "method.alpha" = [8, 16] }
"""
SETTINGS = """
[[compare.settings]]
name = "iid"
[[compare.settings]]
name = "alpha=0.1"
set = { server.weighting = "uniform", client.steps = "", client.epochs = 2 }
"""
OPTIONS = """
[[compare.options]]
name = "plain"
[[compare.options]]
name = "slow"
set = { "client.warmup_rounds" = 2 }
"""
GOOD = f"{BASE}[compare]\nseeds = [0, 7]\ntarget = 0.75\n{SETTINGS}{METHODS}"


def load(text: str, tmp_path: Path, *overrides: str) -> Comparison:
    path = tmp_path / "compare.toml"
    path.write_text(text)
    return load_comparison(path, overrides=overrides)


def refused(text: str, tmp_path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check_cells(load(text, tmp_path, *overrides))
    assert "compare.toml" in str(caught.value)
    return str(caught.value)


def test_cells_are_the_product_of_the_axes_seeds_outermost(tmp_path: Path) -> None:
    cells = all_cells(load(GOOD + OPTIONS, tmp_path))
    assert len(cells) == len(set(cells)) == 2 * 2 * 2 * 2
    assert [cell.seed for cell in cells] == [0] * 8 + [7] * 8
    assert str(cells[0]) == "iid / plain / fedtt+ / seed 0"
    assert str(cells[1]) == "iid / plain / lora / seed 0"
    assert str(cells[2]) == "iid / slow / fedtt+ / seed 0"


def test_an_option_is_run_in_its_settings(tmp_path: Path) -> None:
    options = OPTIONS + 'settings = ["alpha=0.1"]\n'
    cells = all_cells(load(GOOD + options, tmp_path))
    assert [str(cell) for cell in cells[:6]] == [
        "iid / plain / fedtt+ / seed 0",
        "iid / plain / lora / seed 0",
        "alpha=0.1 / plain / fedtt+ / seed 0",
        "alpha=0.1 / plain / lora / seed 0",
        "alpha=0.1 / slow / fedtt+ / seed 0",
        "alpha=0.1 / slow / lora / seed 0",
    ]
    elsewhere = OPTIONS.replace('"plain"', '"plain"\nsettings = ["alpha=0.1"]')
    comparison = load(GOOD + elsewhere, tmp_path)
    # The first option of the setting that is tuned in.
    assert tuning_cell(comparison, comparison.compare.methods[0]).option == "slow"


def test_a_cell_is_the_base_run_with_what_its_names_set(tmp_path: Path) -> None:
    comparison = load(GOOD, tmp_path)
    check_cells(comparison)
    cells = {str(cell): cell for cell in all_cells(comparison)}
    plain = cell_config(comparison, cells["iid / plain / lora / seed 7"], {"method.alpha": 8})
    assert (plain.seed, plain.method.name, plain.method.alpha) == (7, "lora", 8)
    assert (plain.client.steps, plain.server.weighting) == (5, "examples")
    assert (plain.evaluation.alone, plain.evaluation.test) == (False, True)
    skewed = cell_config(comparison, cells["alpha=0.1 / plain / lora / seed 7"], {})
    assert config_differences(plain, skewed) == [
        "client.epochs: None -> 2",
        "client.steps: 5 -> None",
        "method.alpha: 8.0 -> 16.0",
        "server.weighting: 'examples' -> 'uniform'",
    ]


def test_tuning_runs_differ_from_the_cell_in_seed_and_test_alone(tmp_path: Path) -> None:
    comparison = load(GOOD, tmp_path, "compare.tune_setting=alpha=0.1", "evaluation.alone=true")
    method = comparison.compare.methods[0]
    cell = tuning_cell(comparison, method)
    assert str(cell) == "alpha=0.1 / plain / fedtt+ / seed 1000"
    point = {"client.learning_rate": 2e-3}
    same_place = next(
        c for c in all_cells(comparison) if (c.setting, c.method) == (cell.setting, cell.method)
    )
    assert config_differences(
        cell_config(comparison, same_place, point), tuning_config(comparison, method, point)
    ) == [
        "evaluation.alone: True -> False",
        "evaluation.test: True -> False",
        "seed: 0 -> 1000",
    ]


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=4)))
def test_points_are_the_cartesian_product(grid: dict[str, list[int]]) -> None:
    points = MethodVariantConfig(name="m", grid=grid).points
    size = 1
    for values in grid.values():
        size *= len(values)
    assert len(points) == size
    assert all(point[key] in values for point in points for key, values in grid.items())
    assert points[0] == {key: values[0] for key, values in grid.items()}


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = GOOD.replace('source = "sentiment-silos"', 'path = "a.csv"').replace(
        'name = "iid"', 'name = "iid"\nset = { data.text_column = "t" }'
    )
    text = text.replace("server.weighting", 'data.path = "b.csv", server.weighting')
    comparison = load(text, tmp_path)
    paths = {
        cell.setting: cell_config(comparison, cell, {}).data.path for cell in all_cells(comparison)
    }
    assert paths == {"iid": tmp_path / "a.csv", "alpha=0.1": tmp_path / "b.csv"}


def test_a_dumped_comparison_reads_back_the_same(tmp_path: Path) -> None:
    comparison = load(GOOD + OPTIONS, tmp_path)
    again = load(dump_comparison(comparison), tmp_path)
    assert again == comparison
    assert tomllib.loads(dump_comparison(comparison))["compare"]["target"] == [0.75]


def test_overrides_change_the_base_and_the_axes(tmp_path: Path) -> None:
    comparison = load(GOOD, tmp_path, "rounds=2", "compare.seeds=[3]", "compare.target=[0.5, 0.6]")
    assert {(c.seed, cell_config(comparison, c, {}).rounds) for c in all_cells(comparison)} == {
        (3, 2)
    }
    assert comparison.compare.target == (0.5, 0.6)


def test_the_reference_is_the_first_method_unless_named(tmp_path: Path) -> None:
    assert load(GOOD, tmp_path).reference == "fedtt+"
    assert load(GOOD, tmp_path, "compare.reference=lora").reference == "lora"


SHARED = '[[compare.methods]]\nname = "LoRA"\nset = { method.name = "lora" }\n'
BAD = {
    "no comparison": (BASE, "expected: a section [compare] with seeds, settings and methods"),
    "a method of its own": (GOOD.replace("rounds", 'method = { name = "lora" }\nrounds'), "method"),
    "a seed of its own": ("seed = 1\n" + GOOD, "seed has no place in a comparison"),
    "unknown key": (GOOD.replace("seeds", "sed = 1\nseeds"), "did you mean 'compare.seeds'?"),
    "no seeds": (GOOD.replace("[0, 7]", "[]"), "compare.seeds: got []"),
    "a seed twice": (GOOD.replace("[0, 7]", "[7, 7]"), "a seed is given twice: [7, 7]"),
    "a tuned seed": (GOOD.replace("[0, 7]", "[1000]"), "tune_seed = 1000 is one of the seeds"),
    "no methods": (BASE + "[compare]\nseeds = [0]\n" + SETTINGS, "compare.methods: missing"),
    "unequal grids": (
        GOOD.replace("[8, 16]", "[8, 16, 32]"),
        "grids of different size are no fair comparison (fedtt+: 2, lora: 3 points)",
    ),
    "an empty grid": (GOOD.replace("[8, 16]", "[]"), "the grid has no value for method.alpha"),
    "names but for case": (GOOD.replace('"fedtt+"', '"LORA"'), "methods share a name: LORA, lora"),
    "a path as a name": (GOOD.replace('"iid"', '"../iid"'), "a name is also a directory"),
    "a dot as a name": (GOOD.replace('"iid"', '"."'), "a name is also a directory"),
    "target out of range": (GOOD.replace("0.75", "-1"), "compare.target.0: got -1"),
    "unknown reference": (GOOD.replace("target", 'reference = "x"\ntarget'), "none of: fedtt+, lo"),
    "unknown setting": (GOOD.replace("target", 'tune_setting = "x"\ntarget'), "none of: iid, alp"),
    "unknown option": (GOOD.replace("target", 'tune_option = "x"\ntarget'), "tune_option = 'x'"),
    "an option in no such setting": (
        GOOD + OPTIONS + 'settings = ["x"]\n',
        "option 'slow': setting 'x' is none of: iid, alpha=0.1",
    ),
    "a setting without an option": (
        GOOD + OPTIONS.replace("name", 'settings = ["iid"]\nname'),
        "no option is run in setting 'alpha=0.1'",
    ),
    "tuned where the option is not run": (
        GOOD.replace("target", 'tune_option = "slow"\ntarget')
        + OPTIONS
        + 'settings = ["alpha=0.1"]\n',
        "tune_option 'slow' is not run in setting 'iid'",
    ),
    "misspelled variant key": (
        GOOD.replace("grid = ", "gird = "),
        "compare.methods.0.gird: unknown key; did you mean 'compare.methods.0.grid'?",
    ),
    "unvalidated": (GOOD + "[evaluation]\nevery = 0\n", "got: evaluation.every = 0"),
    "untested": (GOOD + "[evaluation]\ntest = false\n", "evaluation.test = false"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_comparison(case: str, tmp_path: Path) -> None:
    text, expected = BAD[case]
    assert expected in refused(text, tmp_path)


def test_a_bad_key_names_its_cell(tmp_path: Path) -> None:
    message = refused(GOOD.replace("client.epochs", "client.epohcs"), tmp_path)
    assert "client.epohcs: unknown key; did you mean 'client.epochs'?" in message
    assert "compare.toml, cell alpha=0.1 / plain / fedtt+ / seed 0" in message
    message = refused(GOOD.replace("[8, 16]", "[8, -1]"), tmp_path)
    assert "method.alpha: got -1" in message
    assert "tuning iid / plain / lora / seed 1000" in message


def test_a_model_that_is_not_there_is_named_before_anything_runs(tmp_path: Path) -> None:
    text = GOOD.replace('server.weighting = "uniform"', 'model.name = "./nowhere"')
    with pytest.raises(ModelError, match=r"no such directory(.|\n)*nowhere"):
        check_cells(load(text, tmp_path))


def test_a_key_that_two_axes_set_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace('server.weighting = "uniform"', "client.learning_rate = 1")
    message = refused(text, tmp_path)
    assert "client.learning_rate: by setting 'alpha=0.1' and by the grid of 'fedtt+'" in message
    message = refused(GOOD.replace('server.weighting = "uniform"', "seed = 3"), tmp_path)
    assert "seed: by compare.seeds and by setting 'alpha=0.1'" in message


# They set the global model to a point.
POINT = {"fedtt-round", "metatt-round", "fedex-lora", "flexlora"}
RECIPE = """
[[compare.methods]]
name = "m"
set = { method.name = "NAME" }
[compare.methods.grid]
client.learning_rate = [1e-3, 1e-2]
client.head_learning_rate = ["", 1e-2]
client.zero_start_factor = [1.0, 16.0]
"""
SERVER = """
server.optimizer = ["fedavgm", "fedadam", "fedyogi"]
server.learning_rate = [0.1, 1.0]
server.momentum = [0.5, 0.9]
"""


@pytest.mark.parametrize("name", [name for name in TABLE if name != "peft:TYPE"])
def test_the_recipe_can_be_searched_for_every_method(name: str, tmp_path: Path) -> None:
    setting = '[compare]\nseeds = [0]\n[[compare.settings]]\nname = "iid"\n'
    text = BASE + setting + RECIPE.replace("NAME", name)
    scaled = "method.scaling = [0.5, 2.0]\n"
    if "scaling" in method_entry(name).section.model_fields:
        text += scaled
    comparison = load(text, tmp_path)
    check_cells(comparison)
    whole = load(text + SERVER, tmp_path)
    check_cells(whole)
    (method,) = whole.compare.methods
    built = [
        build_method(
            tuning_config(whole, method, point).method,
            task="classification",
            server=tuning_config(whole, method, point).server,
        )
        for point in (method.points if name not in POINT else ())[-2:]
    ]
    assert all(one.server.name == "fedyogi" for one in built)
