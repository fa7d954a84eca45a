"""One client as its local training sees it, alone or in a cohort."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from fedtt.params import Params

Batch = Mapping[str, Tensor]
StepHook = Callable[[int, float], None]
Loss = TypeVar("Loss")


@dataclass(frozen=True, kw_only=True)
class LocalClient(Generic[Loss]):
    """A client in a round: from where it trains, on which ``batches``, a step each, by which loss.

    ``where`` is what messages call it; ``after_step(step, loss)`` may raise to stop early. Dropout
    draws from the client's own stream, ``dropout_seed``. ``kept`` is the optimizer's state that the
    client goes on from (``kept_moments``); None: it starts afresh, and nothing is kept.
    """

    start: Params
    batches: Iterable[Batch]
    num_examples: int
    dropout_seed: int
    where: str
    loss: Loss
    after_step: StepHook | None = None
    kept: Mapping[str, Tensor] | None = None
