"""Every type of PEFT's, and of ours, as ``peft:TYPE``: it trains, or is refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

import fedtt.peft
from fedtt.config import RunConfig, parse_method
from fedtt.engine.build import build_federation
from fedtt.engine.build_method import build_method
from fedtt.engine.inprocess import local_clients
from fedtt.errors import ConfigError, FedttError, ModelError
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import run_round
from fedtt.methods.unfit_peft_types import NEEDED, REFUSED

MakeConfig = Callable[..., RunConfig]
assert fedtt.peft  # registers ours
TYPES = sorted(str(kind.value).lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING)
# Options that fit the tiny models, of types whose defaults are too large for them or are missing.
FITTING: dict[str, dict[str, Any]] = {
    "adaption_prompt": {"adapter_len": 4, "adapter_layers": 2},
    "c3a": {"block_size": 16},
    "cartridge": {"num_virtual_tokens": 4},
    "miss": {"r": 4},
    "p_tuning": {"num_virtual_tokens": 4},
    "prefix_tuning": {"num_virtual_tokens": 4},
    "prompt_tuning": {"num_virtual_tokens": 4},
    "road": {"group_size": 8},
    "trainable_tokens": {"token_indices": [4, 5]},
    "vblora": {"vector_length": 16},
    "waveft": {"n_frequency": 30},
}
WORDS = {"kind": "label-words", "prompt": "the film was {text}", "words": ["bad", "good"]}


def trained_in_a_round(config: RunConfig) -> int:
    """How many of the parameters that travel a round has changed."""
    federation = build_federation(config)
    start = federation.initial
    state, _ = run_round(
        start,
        method=federation.method,
        cohorts=Cohorts(population=federation.population, seed=0),
        learning_rate=1e-2,
        call_clients=local_clients(federation, state=start, seed=0),
    )
    assert all(value.isfinite().all() for value in state.params.values())
    return sum(not torch.equal(value, start.params[name]) for name, value in state.params.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PEFT's own, of its newest methods
@pytest.mark.parametrize("kind", TYPES)
def test_it_trains_a_round_or_is_refused(
    kind: str, make_config: MakeConfig, tiny_llama: Path, tmp_path: Path
) -> None:
    data = tmp_path / "few.csv"
    data.write_text("text,label\n" + "".join(f"good {i},good\nbad {i},bad\n" for i in range(6)))
    base: dict[str, Any] = {
        "rounds": 1,
        "data": {"path": str(data), "test": 0.2, "validation": 0.2},
        "client": {"steps": 1, "batch_size": 2, "learning_rate": 1e-2},
    }
    llama = {"model": {"name": str(tiny_llama), "max_length": 8, "device": "cpu"}, "task": WORDS}
    models: tuple[dict[str, Any], ...] = ({}, llama)

    def trains(options: dict[str, Any], model: dict[str, Any]) -> bool:
        method = {"name": f"peft:{kind}", "options": options}
        try:
            return trained_in_a_round(make_config(**base, **model, method=method)) > 0
        except FedttError as error:
            refusal = str(error)
        assert "where: " in refusal
        assert "fix: " in refusal
        return False

    by_default = [trains({}, model) for model in models]
    if kind in REFUSED:
        assert not any(by_default)
    elif not any(by_default):
        assert any(trains(FITTING[kind], model) for model in models)


def test_tables_and_the_page_name_types_that_there_are() -> None:
    assert {*REFUSED, *NEEDED, *FITTING} <= set(TYPES)
    page = Path("docs/methods.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in page for kind in REFUSED)


@pytest.mark.parametrize("name", ["peft:xlora", "peft:Multitask-Prompt-Tuning", "peft:FROD"])
def test_what_no_client_can_train_is_refused_with_the_reason(name: str) -> None:
    message = r"trained by clients\n  where: method.name\n  got: peft:\w.*: it .*\n.*\n  fix"
    with pytest.raises(ConfigError, match=message):
        build_method(parse_method(name, overrides=()), task="classification")


def test_an_option_without_a_default_is_asked_for() -> None:
    section = parse_method("peft:prompt_tuning", overrides=())
    with pytest.raises(ConfigError, match=r"fix: such as options = \{ num_virtual_tokens = 20 \}"):
        build_method(section, task="classification")


def test_what_peft_trains_without_a_head_is_no_method_for_classes(make_config: MakeConfig) -> None:
    method = {"name": "peft:trainable-tokens", "options": {"token_indices": [4, 5]}}
    with pytest.raises(ModelError, match=r"no head beside this method\n.*\n.*modules_to_save"):
        build_federation(make_config(method=method))


def test_what_peft_refuses_is_one_clear_error(make_config: MakeConfig) -> None:
    with pytest.raises(ModelError, match=r"C3AConfig in BertFor.*\n.*block size.*256\n.*\n  fix:"):
        build_federation(make_config(method={"name": "peft:c3a"}))
