"""Sizes beyond all use and patterns without an end are refused, before anything of them is made."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from tests.peft.methods import adapted
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier
from torch import nn

from fedtt.errors import ConfigError, FedttError, ModelError
from fedtt.peft import (
    BottleneckAdapterConfig,
    LoRAXSConfig,
    MetaTTConfig,
    TTAdapterConfig,
    adapt,
    load_adapted,
    p_tuning_config,
    peft_config_from_table,
    prefix_config,
    prompt_config,
    vera_config,
)
from fedtt.peft.patterns import check_patterns

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
TASK = "SEQ_CLS"
TT: Callable[..., Any] = lambda **options: TTAdapterConfig(task_type=TASK, **options)  # noqa: E731
ABSURD: dict[str, Callable[[], Any]] = {
    "tt rank": lambda: TT(rank=10**9),
    "tt ranks": lambda: TT(rank=[1, 10**9, 10**9, 10**9, 1]),
    "tt bottleneck": lambda: TT(bottleneck=10**18 + 9),  # a prime: its factors took two minutes
    "tt modes": lambda: TT(out_modes=[2**31, 2**31]),
    "tt classifier": lambda: TT(tensorize_classifier=True, classifier_rank=10**9),
    "bottleneck": lambda: BottleneckAdapterConfig(task_type=TASK, bottleneck=10**8),
    "lora-xs": lambda: LoRAXSConfig(task_type=TASK, r=10**9),
    "metatt": lambda: MetaTTConfig(task_type=TASK, rank=[1, 10**9, 1]),
    "lora": lambda: LoraConfig(task_type=TASK, r=10**9),
    "lora pattern": lambda: LoraConfig(task_type=TASK, rank_pattern={"query": 10**9}),
    "vera": lambda: vera_config(TASK, r=10**8),
    "prompt": lambda: prompt_config(TASK, num_tokens=10**10),
    "prefix": lambda: prefix_config(TASK, num_tokens=10**10),
    "projection": lambda: prefix_config(TASK, projection=10**10),
    "p-tuning": lambda: p_tuning_config(TASK, width=10**8),
    "loha": lambda: peft_config_from_table("loha", {"r": 10**9}, task_type=TASK),
    "adalora": lambda: peft_config_from_table(
        "adalora", {"init_r": 10**100, "total_step": 10}, task_type=TASK
    ),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_are_refused_by_name_at_once(name: str) -> None:
    base = tiny_classifier("bert")
    start = time.monotonic()
    with pytest.raises(FedttError, match=r"out of range|absurdly large") as caught:
        adapt(base, ABSURD[name]())
    assert time.monotonic() - start < 2
    assert "at most" in str(caught.value)
    assert not any("lora" in name for name, _ in base.named_modules())


def test_a_seed_may_be_any_number() -> None:
    assert adapt(tiny_classifier("bert"), vera_config(TASK, r=4, seed=2**40))


def test_what_is_no_absurd_number_but_larger_than_memory_says_so() -> None:
    wide = nn.Sequential(nn.Linear(1, 2**23))
    config = LoraConfig(r=2**24, target_modules=["0"])  # B alone has 2**47 values
    with pytest.raises(ModelError, match="larger than the memory of this machine") as caught:
        adapt(wide, config)
    assert "a smaller rank" in str(caught.value)


ENDLESS = r"(.+)+!"
HOSTILE: dict[str, Callable[[], Any]] = {
    "tt": lambda: TT(target_modules=ENDLESS),
    "lora": lambda: LoraConfig(task_type=TASK, target_modules=ENDLESS),
    "excluded": lambda: LoraConfig(task_type=TASK, exclude_modules=ENDLESS),
    "ranks": lambda: LoraConfig(task_type=TASK, rank_pattern={ENDLESS: 4}),
    "saved": lambda: LoraConfig(task_type=TASK, modules_to_save=[ENDLESS]),
    "any of PEFT's": lambda: peft_config_from_table(
        "loha", {"target_modules": ENDLESS}, task_type=TASK
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_pattern_without_an_end_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="the pattern takes too long") as caught:
        check_patterns(HOSTILE[name](), tiny_classifier("bert"), seconds=0.5)
    assert ENDLESS in str(caught.value)
    assert "a list of names" in str(caught.value)


def test_in_a_saved_adapter_too_and_what_is_no_pattern(tmp_path: Path) -> None:
    adapted(tiny_classifier("bert"), "lora").save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    text = path.read_text()
    path.write_text(text.replace('"exclude_modules": null', '"exclude_modules": "(?:.*)*("'))
    with pytest.raises(ConfigError, match="no regular expression: missing \\)"):
        load_adapted(tiny_classifier("bert"), tmp_path)


def test_patterns_that_people_write_pass() -> None:
    for pattern in (r".*\.(query|value)", r"(?:.*\.)?layer\.\d+\.output\.dense", "all-linear"):
        check_patterns(LoraConfig(task_type=TASK, target_modules=pattern), tiny_classifier("bert"))
