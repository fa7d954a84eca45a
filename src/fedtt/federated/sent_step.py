"""What a round did to the global model, as it travels to the clients: the server's step, encoded.

The server moves its own parameters by what is decoded, too, so everybody has the same model, to the
bit, whatever the codec (``wire.downlink``) lost.
"""

from collections.abc import Collection
from dataclasses import dataclass

from fedtt.federated.subspace import THETA, Subspace, answer_of
from fedtt.federated.wire.codec import Codec
from fedtt.params import Params, Structure, select, structure_of


@dataclass(frozen=True, kw_only=True)
class SentStep:
    """``body`` are the numbers by which ``names`` moved, as the downlink's codec wrote them.

    With a subspace these are its few numbers, else one a parameter. Whoever has the ``names`` as
    they were before the round has them after it by adding what the numbers stand for.
    """

    names: frozenset[str]
    body: bytes

    def numbers(self, structure: Structure, *, subspace: Subspace | None, codec: Codec) -> Params:
        """The numbers. Raises :class:`WireError` for bytes that no such codec wrote."""
        expected = answer_of(structure, trained=self.names, subspace=subspace)
        return codec.decode(self.body, expected=expected)

    def apply(
        self, params: Params, *, subspace: Subspace | None, codec: Codec, round_index: int
    ) -> Params:
        """All of ``params`` after the round."""
        specs = structure_of(select(params, self.names))
        change = self.numbers(specs, subspace=subspace, codec=codec)
        if subspace is not None:
            change = subspace.projection(specs, round_index).change(change[THETA])
        return {**params, **{name: params[name] + moved for name, moved in change.items()}}


def sent_step(names: Collection[str], numbers: Params, *, codec: Codec, seed: int) -> SentStep:
    """The step by those numbers. ``seed`` is that of the codec's chance."""
    return SentStep(names=frozenset(names), body=codec.encode(numbers, seed=seed))
