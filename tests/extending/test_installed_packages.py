"""What an installed package brings by entry points is found without a call."""

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tests.experiment.runs import run

from fedtt.config import RunConfig, method_sections
from fedtt.errors import ConfigError
from fedtt.federated.aggregate import AGGREGATIONS
from fedtt.federated.schedules import SCHEDULES
from fedtt.federated.wire.codec import CODECS
from fedtt.methods import METHODS
from fedtt.registry import Registry
from fedtt.trackers import TRACKERS

MakeConfig = Callable[..., RunConfig]
TOYS = {
    "fedtt.methods": {
        "pkg-shift": "toy_adapter:SHIFT",
        "pkg-quiet": "toy_method:LORA_QUIET",
    },
    "fedtt.schedules": {"pkg-halves": "toy_schedule:first_half"},
    "fedtt.aggregations": {"pkg-signs": "toy_aggregation:mean_of_signs"},
    "fedtt.codecs": {"pkg-half": "toy_codec:ROW"},
    "fedtt.trackers": {"pkg-losses": "toy_tracker:loss_table"},
}
TABLES: dict[str, Registry[Any]] = {
    "fedtt.methods": METHODS,
    "fedtt.schedules": SCHEDULES,
    "fedtt.aggregations": AGGREGATIONS,
    "fedtt.codecs": CODECS,
    "fedtt.trackers": TRACKERS,
}


def install(site: Path, package: str, points: dict[str, dict[str, str]], **files: str) -> None:
    """As an installer leaves a package: modules, and beside them its dist-info."""
    module = package.replace("-", "_")
    place = site / module
    place.mkdir(parents=True)
    (place / "__init__.py").touch()
    for name, text in files.items():
        (place / f"{name}.py").write_text(dedent(text), encoding="utf-8")
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = []
    for group, rows in points.items():
        lines += [f"[{group}]", *(f"{name} = {module}.{at}" for name, at in rows.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "site-packages"
    place.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(place)
    yield place
    for name in set(sys.modules) - before:
        if str(place) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def toys(site: Path) -> Path:
    """The toys of this folder, as a package of their own."""
    here = Path(__file__).parent
    names = {place.partition(":")[0] for rows in TOYS.values() for place in rows.values()}
    texts = {name: (here / f"{name}.py").read_text(encoding="utf-8") for name in names}
    # A second copy of the adapter would be a second PEFT type of one name.
    texts["toy_adapter"] = "from tests.extending.toy_adapter import SHIFT\n"
    texts["toy_codec"] = texts["toy_codec"].replace("tests.extending", "fedtt_toys")
    install(site, "fedtt-toys", TOYS, **texts)
    return site


@pytest.mark.slow
@pytest.mark.usefixtures("toys")
def test_its_rows_are_in_the_tables_and_train_a_run(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    for group, rows in TOYS.items():
        assert set(rows) <= set(TABLES[group].names)
        assert not set(rows) & set(TABLES[group].own_names)
        assert all(TABLES[group][name] for name in rows)
    config = make_config(
        rounds=1,
        method={"name": "pkg-shift"},
        wire={"codec": "pkg-half"},
        server={"aggregation": "pkg-signs"},
        track={"to": ["pkg-losses"]},
        evaluation={"alone": False, "every": 0, "before": False},
    )
    summary = run(config, tmp_path / "run")
    assert set(summary["exchanged_parameters"]) == {"shift", "head", "total"}
    assert (tmp_path / "run" / "losses.txt").exists()
    with pytest.raises(ConfigError, match="there is a codec of that name"):
        CODECS.register("pkg-half", "somewhere:else")


def test_a_package_is_imported_when_one_of_its_rows_is_asked_for_and_not_before(site: Path) -> None:
    install(site, "lazy-plug", {"fedtt.schedules": {"lazy": "own:ROW"}}, own="def ROW(state): ...")
    assert "lazy" in SCHEDULES
    assert SCHEDULES.check("lazy") == "lazy"
    assert "lazy_plug" not in sys.modules
    assert SCHEDULES["lazy"].__module__ == "lazy_plug.own"


def test_a_hint_imports_no_package(site: Path, make_config: MakeConfig) -> None:
    own = """
        from dataclasses import replace
        from fedtt.methods.lora_family import LORA, LoRAConfig

        class Own(LoRAConfig):
            stretch: int = 1

        ROW = replace(LORA, section=Own)
    """
    install(site, "hinted-plug", {"fedtt.methods": {"hinted": "own:ROW"}}, own=own)
    with pytest.raises(ConfigError, match=r"did you mean 'method\.rank'"):
        make_config(method={"name": "lora", "ranc": 2})
    assert not [name for name in sys.modules if name.startswith("hinted_plug")]
    with pytest.raises(ConfigError, match=r"did you mean 'method\.stretch'"):
        make_config(method={"name": "hinted", "stretsh": 2})


BROKEN = {
    "absent": ("gone:ROW", "ModuleNotFoundError: No module named 'broken_plug.gone'"),
    "raises": ("bad:ROW", "RuntimeError: no license"),
    "lacks": ("good:NOTHING", "has no attribute 'NOTHING'"),
    "other": ("good:NUMBER", "got: int"),
}


@pytest.fixture
def broken(site: Path) -> None:
    points = {"fedtt.methods": {name: place for name, (place, _) in BROKEN.items()}}
    points["fedtt.codecs"] = {"unbuilt": "good:UNBUILT"}
    unbuilt = """
        from fedtt.federated.wire.codec import CodecRow
        NUMBER = 3
        UNBUILT = CodecRow(built_by="broken_plug.gone:build")
    """
    install(site, "broken-plug", points, bad="raise RuntimeError('no license')", good=unbuilt)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_row_is_named_with_its_package_when_it_is_asked_for(
    make_config: MakeConfig, name: str
) -> None:
    with pytest.raises(
        ConfigError, match=r"which the package broken-plug brings, (cannot|is no)"
    ) as e:
        METHODS[name]
    assert BROKEN[name][1] in str(e.value)
    assert "fix: mend broken-plug, or uninstall it" in str(e.value)
    with pytest.raises(ConfigError, match="broken-plug"):
        make_config(method={"name": name})


@pytest.mark.usefixtures("broken")
def test_a_broken_package_ends_nothing_that_does_not_ask_for_it(make_config: MakeConfig) -> None:
    assert make_config(method={"name": "lora"}).method.name == "lora"
    assert len(method_sections()) >= 8
    with pytest.raises(ConfigError, match=r"did you mean 'method\.rank'"):  # fedtt's own
        make_config(method={"name": "lora", "ranc": 2})
    with pytest.raises(ConfigError, match=r"cannot be loaded\n  where: broken_plug\.gone:build"):
        _ = CODECS["unbuilt"].build


def test_a_name_that_fedtt_has_stays_fedtts(site: Path) -> None:
    install(site, "usurper", {"fedtt.methods": {"lora": "x:ROW"}})
    with pytest.warns(UserWarning, match="usurper: a method called 'lora' is refused"):
        METHODS.check("lora")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert METHODS["lora"].reference == "arXiv 2305.05644"


def test_a_name_that_two_packages_bring_is_nobodys(site: Path) -> None:
    for package in ("one-plug", "other-plug"):
        install(site, package, {"fedtt.schedules": {"mine": "x:ROW"}})
    with pytest.raises(ConfigError, match=r"several packages(.|\n)*one-plug and other-plug"):
        SCHEDULES["mine"]
    assert SCHEDULES["cycle"]
