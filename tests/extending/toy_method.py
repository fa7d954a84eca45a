"""A method from outside: one file, and one row (``METHODS.register``)."""

from dataclasses import replace
from typing import TYPE_CHECKING

from fedtt.methods import MethodEntry, MethodSection, Setting
from fedtt.methods.entry import averaged
from fedtt.section import Rank

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class FrozenFirstConfig(MethodSection):
    """``[method]`` with ``name = "lora-quiet"``: LoRA that does not train in every round."""

    rank: Rank = 4
    rests: bool = True


def build(section: FrozenFirstConfig, setting: Setting) -> "Method":
    """LoRA whose A rests in every second round."""
    from peft import LoraConfig

    from fedtt.federated.parameter_names import is_lora_a
    from fedtt.federated.types import ServerState

    def schedule(state: ServerState) -> frozenset[str]:
        resting = section.rests and state.next_round % 2 == 1
        return frozenset(name for name in state.params if not (resting and is_lora_a(name)))

    adapter = LoraConfig(task_type=setting.task_type, r=section.rank)
    return replace(averaged(adapter, setting), schedule=schedule)


LORA_QUIET = MethodEntry(
    section=FrozenFirstConfig,
    adapter="LoRA",
    sends="A and B; in odd rounds B alone",
    aggregation="mean",
    reference="a toy of the tests",
    build=build,
)
