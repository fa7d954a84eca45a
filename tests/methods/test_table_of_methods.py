"""The table of methods: complete, true to docs/methods.md, and light."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from fedtt.config import RunConfig, ServerConfig, parse_method
from fedtt.engine.build_method import build_method
from fedtt.errors import ConfigError
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.method import Method
from fedtt.federated.subspace import Subspace
from fedtt.methods import METHODS, MethodEntry, method_entry

MakeConfig = Callable[..., RunConfig]
WORDS = ("adapter", "sends", "aggregation", "reference")
SETS_A_POINT = ["fedtt-round", "metatt-round", "fedex-lora", "flexlora"]
NAMED = [name for name in METHODS if name != "peft:TYPE"]


def documented() -> dict[str, tuple[str, ...]]:
    """Name -> adapter, what it sends, aggregation and reference, as the docs' first table says."""
    page = Path("docs/methods.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    return {
        re.findall(r"`([^`]+)`", names)[0]: tuple(cell.strip() for cell in cells)
        for names, *cells in rows
        if len(cells) == len(WORDS)
    }


def test_the_docs_have_the_table_row_by_row() -> None:
    table = {name: tuple(getattr(METHODS[name], word) for word in WORDS) for name in METHODS}
    assert documented() == table
    assert list(documented()) == list(METHODS)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        *((name, "classification") for name in NAMED),
        *((name, "causal") for name in NAMED if name != "head"),  # which such a model has not
    ],
)
def test_every_method_is_built_from_its_name_alone(name: str, task: str) -> None:
    method = build_method(parse_method(name, overrides=()), task=task)
    assert method.name == name
    assert method.reference == METHODS[name].reference
    assert method.adapter.task_type == {"classification": "SEQ_CLS", "causal": "CAUSAL_LM"}[task]


@pytest.mark.parametrize("name", ["lora", "ffa-lora", "rolora", "fedex-lora", "flexlora"])
def test_the_scaling_of_lora_takes_the_place_of_alpha(name: str) -> None:
    def of(*overrides: str) -> Method:
        config = parse_method(name, overrides=["rank=4", *overrides])
        return build_method(config, task="classification")

    assert of("scaling=3").adapter.lora_alpha == 12  # 3 * 4: PEFT divides by the rank
    assert of("scaling=3") == of("alpha=12")
    assert of("scaling=3", "alpha=5") == of("alpha=12") != of()


@pytest.mark.parametrize("name", SETS_A_POINT)
def test_a_server_optimizer_that_would_miss_the_point_is_refused(name: str) -> None:
    server = ServerConfig(optimizer="fedadam", learning_rate=0.1)
    with pytest.raises(ConfigError, match="sets the global model to the aggregate itself"):
        build_method(parse_method(name, overrides=()), task="classification", server=server)


def test_the_others_keep_the_server_and_the_mean() -> None:
    server = ServerConfig(optimizer="fedadam", learning_rate=0.1)
    for name in sorted({*NAMED} - {*SETS_A_POINT}):
        method = build_method(
            parse_method(name, overrides=()), task="classification", server=server
        )
        assert (method.server.name, method.server.learning_rate) == ("fedadam", 0.1)
        assert method.aggregation == WeightedMean()


def test_a_key_of_the_section_reaches_the_adapter() -> None:
    """Every key of every section changes what is built."""
    other: dict[str, object] = {
        "activation": "relu",
        "also_train": ["norms"],
        "bias": None,
        "dropout": 0.25,
        "target_modules": ["value"],
        "feedforward_modules": ["value"],
        "in_modes": [4, 8],
        "out_modes": [4, 8],
        "tensorize_classifier": True,
        "frames": "orthonormal",
        "options": {"r": 3, "target_modules": ["query"]},
    }
    number = 3
    for name in METHODS:
        named = name.replace("TYPE", "loha")
        section = METHODS[name].section
        plain = parse_method(named, overrides=())
        for key, field in section.model_fields.items():
            fit = {"schedule": name in {"fedtt+", "metatt"}, "ranks": name == "flexlora"}.get(
                key, True
            )
            if key in {"name", "subspace"} or not fit:  # a subspace has a test of its own
                continue
            value = other.get(key, number)
            value = {"schedule": "cycle", "ranks": (1, 2)}.get(key, value)
            value = not field.default if value is None else value
            start = plain.model_dump()
            if key == "feedforward_modules":  # they are some of the others
                start |= {"target_modules": ["value", "key"], key: ["key"]}
            built = [
                build_method(section.model_validate(table), task="classification")
                for table in (start, {**start, key: value})
            ]
            said = [
                (m.adapter.to_dict(), m.schedule, m.client_ranks, m.aggregation, m.also_train)
                for m in built
            ]
            assert said[0] != said[1], f"{name}: {key}"


MAKE_MORE_OF_IT = {"fedtt-round", "metatt-round", "fedex-lora", "flexlora"}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_is_averaged_takes_a_subspace(name: str) -> None:
    section = parse_method(
        name.replace("TYPE", "loha"), overrides=["subspace={size=70, balance='layers'}"]
    )

    def build(**server: object) -> Method:
        return build_method(section, task="classification", server=ServerConfig(**server), seed=9)

    if name in MAKE_MORE_OF_IT:
        with pytest.raises(ConfigError, match="in a subspace only a few numbers travel"):
            build()
        return
    expected = Subspace(size=70, redraw=1, balance="layers", seed=9)
    assert build().subspace == build(aggregation="median").subspace == expected
    with pytest.raises(ConfigError, match="momentum belongs to one subspace"):
        build(optimizer="fedadam")


def test_momentum_needs_a_subspace_that_stays_and_moves_the_same() -> None:
    def build(name: str, *more: str) -> Method:
        section = parse_method(name, overrides=["subspace={size=70, redraw=0}", *more])
        server = ServerConfig(optimizer="fedavgm")
        return build_method(section, task="classification", server=server)

    assert build("fedtt").subspace is not None
    with pytest.raises(ConfigError, match="schedule cycle"):
        build("fedtt+", "schedule=cycle")


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "many"])
def test_a_subspace_of_no_size_is_refused(size: str) -> None:
    with pytest.raises(ConfigError, match=r"subspace\.size"):
        parse_method("lora", overrides=[f"subspace={{size={size!r}}}"])


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no method is called 'fedavg\+lora'"):
        method_entry("fedavg+lora")
    assert method_entry("peft:loha") is METHODS["peft:TYPE"]


def test_every_row_is_an_entry_of_which_nothing_is_left_out() -> None:
    for name in METHODS:
        entry = METHODS[name]
        assert isinstance(entry, MethodEntry)
        empty = [f.name for f in fields(entry) if not getattr(entry, f.name)]
        assert empty == (["reference"] if name == "peft:TYPE" else [])


def test_reading_the_whole_table_is_light() -> None:
    check = (
        "import sys; from fedtt.methods import METHODS; all(METHODS[name] for name in METHODS);"
        " sys.exit(', '.join({'torch', 'peft', 'numpy'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
