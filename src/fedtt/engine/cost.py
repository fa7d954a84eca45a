"""What a method exchanges with a model, from names and shapes alone: no weights are loaded."""

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

from peft import PeftConfig, get_peft_model
from peft.utils.error import NoMatchingPeftModuleError
from transformers import PretrainedConfig

from fedtt import params as p
from fedtt.errors import ModelError
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire import encode, encode_update
from fedtt.models import build_empty_model
from fedtt.peft import exchanged_parameters


@dataclass(frozen=True, kw_only=True)
class MessageCost:
    """One client's share of one round; bytes are lengths of payloads that were serialized."""

    exchanged_parameters: Mapping[str, int]
    uplink_bytes: int
    downlink_bytes: int

    @property
    def total_parameters(self) -> int:
        """Exchanged parameters of all kinds."""
        return sum(self.exchanged_parameters.values())


def count_message(config: PretrainedConfig, adapter: PeftConfig, *, task: str) -> MessageCost:
    """Cost of exchanging everything that ``adapter`` trains on that base model, once.

    Puts the adapter into an empty model, which also checks that the two fit. Raises
    :class:`ShapeError` or :class:`ModelError` where they do not.
    """
    try:
        model = get_peft_model(build_empty_model(config, task=task), deepcopy(adapter))
    except NoMatchingPeftModuleError as error:
        raise ModelError(
            "the adapter finds no place in the base model",
            where="method.target_modules",
            got=adapter.target_modules,
            fix="leave target_modules out where the architecture is known, or name its modules",
        ) from error
    kinds = exchanged_parameters(model)
    shapes = p.structure_of({n: t for n, t in model.named_parameters() if n in kinds})
    counts: Counter[str] = Counter()
    for name, kind in kinds.items():
        counts[str(kind)] += shapes[name].num_elements
    params = p.zeros(shapes)
    update = ClientUpdate(delta=params, num_examples=1, num_steps=1, loss=0.0)
    return MessageCost(
        exchanged_parameters=dict(sorted(counts.items())),
        uplink_bytes=len(encode_update(update)),
        downlink_bytes=len(encode(params)),
    )
