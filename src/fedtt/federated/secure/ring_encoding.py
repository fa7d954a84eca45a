"""Updates as whole numbers modulo 2^32, whose sum over all clients is exact.

A number within ``value_range`` is as many steps of ``value_range * clients / (2^31 - 1)``, rounded
to the nearest: so the steps of all clients together do not wrap around. What is larger counts as
``value_range``, and how many were is summed too. A client's number of examples is its weight: it
goes into the steps, and into a sum of its own.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedtt import params as p
from fedtt.errors import FedttError, WireError
from fedtt.federated.secure.sum_sizes import MOST_CLIENTS
from fedtt.federated.types import ClientUpdate
from fedtt.params import Params, Structure

Words = npt.NDArray[np.uint32]
WORD_BYTES = 4
LARGEST = 2**31 - 1  # of the sums with a sign
MOST_WEIGHT = 4_000_000  # times the clients, below 2^32
LOSS_RANGE = 64.0  # nats; a larger loss counts as that
_EXTRA = 3  # words beside the update's: weight, numbers out of range, weighted loss


@dataclass(frozen=True, kw_only=True)
class RingEncoding:
    """What all clients of a round encode by. ``weight`` is at most ``most_weight``: 1 where all
    count the same.
    """

    structure: Structure
    value_range: float
    most_weight: int
    clients: int

    def __post_init__(self) -> None:
        if not 1 <= self.clients <= MOST_CLIENTS or not 1 <= self.most_weight <= MOST_WEIGHT:
            raise FedttError(
                "more than sums of 32 bits hold",
                got=f"{self.clients} clients, weights up to {self.most_weight}",
                expected=f"at most {MOST_CLIENTS} clients, weights up to {MOST_WEIGHT}",
            )
        if self.numbers * self.clients >= 2**32:
            raise FedttError("more numbers than can be counted in 32 bits", got=self.numbers)

    @property
    def numbers(self) -> int:
        """Numbers of an update."""
        return sum(spec.num_elements for spec in self.structure.values())

    @property
    def words(self) -> int:
        """Words that a client sends."""
        return self.numbers + _EXTRA

    @property
    def most_steps(self) -> int:
        """Of one client in one number."""
        return LARGEST // self.clients

    @property
    def step(self) -> float:
        """What a step is worth, at the full weight."""
        return self.value_range / self.most_steps


@dataclass(frozen=True, kw_only=True)
class DecodedSum:
    """What a sum says: the weighted mean of updates and losses, and how many numbers were larger
    than the range.
    """

    mean: Params
    weight: int
    out_of_range: int
    loss: float


def encode_words(update: ClientUpdate, *, weight: int, encoding: RingEncoding) -> Words:
    """The update, and what is summed beside it; a weight above the most counts as that.

    Raises :class:`ShapeError` for another structure, :class:`WireError` for what is not finite.
    """
    p.check_same_structure(update.delta, encoding.structure)
    bad = p.non_finite_names(update.delta)
    if bad or not np.isfinite(update.loss):
        raise WireError("an update is not finite", where=", ".join(bad[:3]) or "its loss")
    weight = min(weight, encoding.most_weight)
    flat = [update.delta[name].flatten().double() for name in sorted(encoding.structure)]
    numbers = torch.cat(flat) if flat else torch.zeros(0, dtype=torch.float64)
    share = encoding.most_steps * weight / encoding.most_weight
    within = numbers.clamp(-encoding.value_range, encoding.value_range) / encoding.value_range
    outside = int((numbers.abs() > encoding.value_range).sum())
    loss = max(-LOSS_RANGE, min(update.loss, LOSS_RANGE)) / LOSS_RANGE
    steps = torch.cat([within, torch.tensor([loss], dtype=torch.float64)]).mul(share).round()
    signed = steps.long().numpy()
    counts = np.array([weight, outside], dtype=np.int64)
    return np.concatenate([signed[:-1], counts, signed[-1:]]).astype(np.uint32)


def decode_sum(total: Words, *, encoding: RingEncoding, arrived: int) -> DecodedSum:
    """The mean over the ``arrived`` clients in a sum.

    Raises :class:`WireError` for what no sum of theirs can be: somebody sent other words.
    """
    signed = total.astype(np.uint32).view(np.int32).astype(np.float64)
    weight, outside = int(total[-3]), int(total[-2])
    share = weight / encoding.most_weight
    steps = np.abs(np.concatenate([signed[: encoding.numbers], signed[-1:]]))
    most = encoding.most_steps * share + arrived / 2  # each rounds to the nearest
    if (
        not arrived <= weight <= arrived * encoding.most_weight
        or outside > encoding.numbers * arrived
        or steps.max() > most + 1
    ):
        raise WireError(
            "a sum that these clients cannot have made: one of them did not say what it should",
            got=f"weight {weight} of {arrived} clients, {outside} numbers out of range",
        )
    per_step = encoding.most_weight / weight / encoding.most_steps
    flat = torch.from_numpy(signed[: encoding.numbers] * (encoding.value_range * per_step))
    return DecodedSum(
        mean=_unflattened(flat, encoding.structure),
        weight=weight,
        out_of_range=outside,
        loss=float(signed[-1]) * LOSS_RANGE * per_step,
    )


def _unflattened(flat: Tensor, structure: Structure) -> Params:
    names = sorted(structure)
    parts = flat.split([structure[name].num_elements for name in names])
    return {
        name: part.reshape(structure[name].shape).to(structure[name].dtype)
        for name, part in zip(names, parts, strict=True)
    }
