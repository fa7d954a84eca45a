"""A seeded subspace: many parameters move by few numbers, and only those train and travel.

In a round the trained parameters are ``start + P theta``. ``P`` gives every parameter one of the
``d`` numbers of ``theta``, with a random sign: it costs no bytes, since both ends draw it from the
same seed, and it is never written out as a matrix. Uni-LoRA (arXiv 2506.00799) trains LoRA in one
such subspace; drawn anew every round, as FedKRSO (arXiv 2602.03019) does for whole weights, what a
federation learns is not bound to any of them.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fedtt.errors import ShapeError
from fedtt.params import Structure, TensorSpec
from fedtt.seeds import derive_seed

THETA = "theta"  # the name of what trains and travels
BALANCES = ("parameters", "layers")
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class Subspace:
    """``size`` numbers move everything that trains; ``redraw`` rounds share one draw (0: all do).

    With balance ``parameters`` every number moves equally many parameters, wherever they are; with
    ``layers`` every layer, and what is in none, has as many numbers as another. ``factors`` are, by
    name, of how far a parameter moves beside the others; 1 for a name that is not there.
    """

    size: int
    redraw: int = 0
    balance: str = "parameters"
    seed: int = 0
    factors: Mapping[str, float] = field(default_factory=dict)

    def length(self, structure: Structure) -> int:
        """How many numbers that is for those parameters: never more than there are.

        Raises :class:`ShapeError` for fewer numbers than layers, where each has its own.
        """
        return sum(self._shares(structure).values())

    def uplink(self, structure: Structure) -> dict[str, TensorSpec]:
        """What a client that trains those parameters sends."""
        return {THETA: TensorSpec(shape=(self.length(structure),), dtype=torch.float32)}

    def draw_of(self, round_index: int) -> int:
        """The number of the draw that a round uses."""
        return round_index // self.redraw if self.redraw else 0

    def projection(self, structure: Structure, round_index: int) -> "Projection":
        """How the numbers move those parameters in that round; the last ones are kept.

        Raises :class:`ShapeError` for a parameter that is not float32.
        """
        for name, spec in structure.items():
            if spec.dtype != torch.float32:
                raise ShapeError(
                    "a subspace moves parameters of one type",
                    where=name,
                    got=spec.dtype,
                    expected="float32",
                )
        seed = derive_seed(self.seed, "subspace", self.draw_of(round_index))
        moved = tuple(
            Moved(
                name=name,
                spec=structure[name],
                factor=self.factors.get(name, 1.0),
                block=self._block_of(name),
            )
            for name in sorted(structure)
        )
        return _draw(seed, moved, tuple(self._shares(structure).items()))

    def _shares(self, structure: Structure) -> dict[str, int]:
        """How many numbers each block has: a part of the parameters that shares none with others.

        In the order in which they occur among the sorted names.
        """
        counts: dict[str, int] = {}
        for name in sorted(structure):
            block = self._block_of(name)
            counts[block] = counts.get(block, 0) + structure[name].num_elements
        counts = {block: count for block, count in counts.items() if count}
        if self.size < len(counts):
            raise ShapeError(
                "a subspace has fewer numbers than there are layers to move",
                where="method.subspace.size",
                got=self.size,
                expected=f"at least {len(counts)}, or balance = 'parameters'",
            )
        size, shares = self.size, dict.fromkeys(counts, 0)
        # The smallest first: what a small part has no use for goes to the others.
        for left, block in enumerate(sorted(counts, key=counts.__getitem__)):
            shares[block] = min(counts[block], size // (len(counts) - left))
            size -= shares[block]
        return shares

    def _block_of(self, name: str) -> str:
        found = _LAYER.search(name) if self.balance == "layers" else None
        return name[: found.end()] if found else ""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A parameter that a projection moves: how far beside the others, and in which block."""

    name: str
    spec: TensorSpec
    factor: float
    block: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """``P``: from ``d`` numbers to the change of ``D`` parameters, and its transpose.

    ``number_of`` ``(D,)`` says which number moves a parameter and ``factor`` ``(D,)`` by how much:
    its sign, over the root of how many the number moves, times the root of how many it moves in the
    mean; and times the parameter's own factor. So every number moves its parameters by about
    itself, columns are orthogonal, of the squared lengths ``squares`` ``(d,)``, and without factors
    ``|P theta|^2 = (D / d) |theta|^2`` within a block. ``members`` ``(most, d)`` are the parameters
    that a number moves, filled up with ``D``. Tensors have the clients first.
    """

    specs: Mapping[str, TensorSpec]
    number_of: Tensor
    factor: Tensor
    members: Tensor
    squares: Tensor

    def expand(self, theta: Tensor) -> Tensor:
        """``P theta``: ``(K, d)`` to ``(K, D)``."""
        return theta.index_select(1, self.number_of) * self.factor

    def reduce(self, gradient: Tensor) -> Tensor:
        """``P^T g``: ``(K, D)`` to ``(K, d)``."""
        clients, most = len(gradient), len(self.members)
        padded = torch.nn.functional.pad(gradient * self.factor, (0, 1))
        return padded.index_select(1, self.members.flatten()).reshape(clients, most, -1).sum(1)

    def to(self, device: torch.device) -> "Projection":
        """The same on that device."""
        if self.factor.device == device:
            return self
        return Projection(
            specs=self.specs,
            number_of=self.number_of.to(device),
            factor=self.factor.to(device),
            members=self.members.to(device),
            squares=self.squares.to(device),
        )

    def change(self, theta: Tensor) -> dict[str, Tensor]:
        """``P theta`` of one client, parameter by parameter."""
        return self.split(self.expand(theta[None])[0])

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """``(D,)`` as the parameters that it is made of; views."""
        parts = flat.split([spec.num_elements for spec in self.specs.values()])
        named = zip(self.specs.items(), parts, strict=True)
        return {name: part.reshape(spec.shape) for (name, spec), part in named}


def answer_of(
    structure: Structure, *, trained: Collection[str], subspace: Subspace | None
) -> Structure:
    """What a client that knows ``structure`` and trains some of it sends back."""
    chosen = {name: structure[name] for name in sorted(trained)}
    return chosen if subspace is None else subspace.uplink(chosen)


@lru_cache(maxsize=2)  # the round's own, and one of the past for whoever missed it
def _draw(seed: int, params: Sequence[Moved], shares: Sequence[tuple[str, int]]) -> Projection:
    sizes = [moved.spec.num_elements for moved in params]
    total, length = sum(sizes), sum(size for _, size in shares)
    index_of = {block: index for index, (block, _) in enumerate(shares)}
    block_of = np.repeat([index_of.get(moved.block, -1) for moved in params], sizes)
    places = {block: np.flatnonzero(block_of == index) for block, index in index_of.items()}
    keys = random_words(seed, "order", count=total)
    number_of = np.empty(total, dtype=np.int32)
    most = max((-(-len(places[block]) // size) for block, size in shares), default=0)
    members = np.full((most, length), total, dtype=np.int32)
    scale = np.empty(length)
    first = 0
    for block, size in shares:
        own = places[block]
        order = own[np.argsort(keys[own], kind="stable")]
        turn = np.arange(len(own))
        number_of[order] = first + turn % size
        members[turn // size, first + turn % size] = order
        moves = np.bincount(turn % size, minlength=size)
        scale[first : first + size] = np.sqrt(len(own) / size / moves)
        first += size
    positive = random_words(seed, "sign", count=total) >> np.uint64(63)
    sign = positive.astype(np.float32) * 2 - 1
    factors = np.repeat([moved.factor for moved in params], sizes)
    factor = (sign * (scale[number_of] * factors)).astype(np.float32)
    squares = np.bincount(number_of, factor.astype(np.float64) ** 2, minlength=length)
    return Projection(
        specs={moved.name: moved.spec for moved in params},
        number_of=torch.from_numpy(number_of),
        factor=torch.from_numpy(factor),
        members=torch.from_numpy(members),
        squares=torch.from_numpy(squares.astype(np.float32)),
    )


def random_words(seed: int, purpose: str, *, count: int) -> np.ndarray:
    """``count`` uniform 64-bit words of a stream of its own.

    Philox counts: its words are the same on every machine and with every version of NumPy, whose
    promise holds for a bit generator's raw words and for no method on top of them.
    """
    return np.random.Philox(key=derive_seed(seed, purpose)).random_raw(count)
