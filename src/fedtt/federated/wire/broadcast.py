"""What the server tells a client in a round: the values it is missing, and what to train.

The names of parameters do not travel. Both ends know the sorted names that can be exchanged; a
payload that holds, or trains, only some of them says so in its header, one bit a name (in hex).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch

from fedtt import params as p
from fedtt.errors import WireError
from fedtt.federated.types import Factors, ServerState
from fedtt.federated.wire.payload import decode, encode, encoded_length, read_header
from fedtt.params import Params, Structure, TensorSpec

_LEFT, _RIGHT = "/left", "/right"


@dataclass(frozen=True, kw_only=True)
class Broadcast:
    """``values`` replace the client's, ``factors`` are added to them, ``trained`` it trains."""

    values: Params
    trained: frozenset[str]
    factors: Factors = field(default_factory=dict)

    def apply(self, known: Params) -> dict[str, torch.Tensor]:
        """The client's parameters after the broadcast, given those that it knew before."""
        changed = {name: known[name] + left @ right for name, (left, right) in self.factors.items()}
        return {**known, **self.values, **changed}


def broadcast_for(
    state: ServerState,
    *,
    client_id: str,
    trained: frozenset[str],
    pretrained: Collection[str],
) -> Broadcast:
    """What ``client_id`` needs: whatever changed since it was last heard.

    A client that was never heard gets everything but what it has from the pretrained model. A
    client that was heard in the round before gets factored changes where they are smaller.
    """
    synced = state.synced_at.get(client_id)
    missing = [name for name in state.params if _is_missing(state, name, synced, pretrained)]
    factors = {}
    if synced == state.next_round - 1:
        factors = {
            name: pair
            for name, pair in state.factors.items()
            if sum(factor.numel() for factor in pair) < state.params[name].numel()
        }
    values = p.select(state.params, [name for name in missing if name not in factors])
    return Broadcast(values=values, trained=trained, factors=factors)


def encode_broadcast(broadcast: Broadcast, *, structure: Structure) -> bytes:
    """Payload for a client that knows ``structure``, every parameter that can be exchanged."""
    return encode(_tensors(broadcast), metadata=_metadata(broadcast, structure))


def broadcast_length(broadcast: Broadcast, *, structure: Structure) -> int:
    """Length of the payload, without making it."""
    metadata = _metadata(broadcast, structure)
    return encoded_length(p.structure_of(_tensors(broadcast)), metadata=metadata)


def decode_broadcast(payload: bytes, *, structure: Structure) -> Broadcast:
    """What a broadcast payload says to a client that knows ``structure``.

    Raises :class:`WireError` for a payload made for other parameters, or not plausible.
    """
    header = read_header(payload)
    sent = _names(header, "sent", structure, default=set(structure))
    trained = _names(header, "trained", structure, default=set(structure))
    factored = _names(header, "factored", structure, default=set())
    expected = {name: structure[name] for name in sorted(sent)}
    for name in sorted(factored):
        expected |= _factor_specs(name, structure[name], header.get("rank", ""))
    tensors, _ = decode(payload, expected=expected)
    factors = {name: (tensors.pop(name + _LEFT), tensors.pop(name + _RIGHT)) for name in factored}
    return Broadcast(values=tensors, trained=frozenset(trained), factors=factors)


def trained_names(payload: bytes, *, structure: Structure) -> frozenset[str]:
    """What a broadcast says is to be trained, read off its header. Raises :class:`WireError`."""
    header = read_header(payload)
    return frozenset(_names(header, "trained", structure, default=set(structure)))


def _tensors(broadcast: Broadcast) -> Params:
    tensors = dict(broadcast.values)
    for name, (left, right) in broadcast.factors.items():
        tensors |= {name + _LEFT: left, name + _RIGHT: right}
    return tensors


def _metadata(broadcast: Broadcast, structure: Structure) -> dict[str, str]:
    metadata = {}
    if broadcast.values.keys() != structure.keys():
        metadata["sent"] = _mask(broadcast.values, structure)
    if broadcast.trained != structure.keys():
        metadata["trained"] = _mask(broadcast.trained, structure)
    if broadcast.factors:
        (rank,) = {left.shape[1] for left, _ in broadcast.factors.values()}
        metadata |= {"factored": _mask(broadcast.factors, structure), "rank": str(rank)}
    return metadata


def _is_missing(
    state: ServerState, name: str, synced: int | None, pretrained: Collection[str]
) -> bool:
    changed = state.changed_at.get(name)
    if synced is None:
        return changed is not None or name not in pretrained
    return changed is not None and changed >= synced


def _mask(names: Collection[str], structure: Structure) -> str:
    """One bit a name of ``structure`` in sorted order, the first name lowest, as hex digits."""
    bits = sum(1 << index for index, name in enumerate(sorted(structure)) if name in names)
    return f"{bits:0{-(-len(structure) // 4)}x}"


def _names(
    header: Mapping[str, str], key: str, structure: Structure, *, default: set[str]
) -> set[str]:
    text = header.get(key)
    if text is None:
        return default
    names = sorted(structure)
    if len(text) != -(-len(names) // 4) or not all(c in "0123456789abcdef" for c in text):
        raise WireError(f"a broadcast's {key!r} names are not one bit a parameter", got=text[:80])
    bits = int(text, 16)
    if bits >> len(names):
        raise WireError(f"a broadcast's {key!r} names more parameters than there are")
    return {name for index, name in enumerate(names) if bits >> index & 1}


def _factor_specs(name: str, spec: TensorSpec, rank_text: str) -> dict[str, TensorSpec]:
    limit = min(spec.shape) if len(spec.shape) == 2 else 0
    rank = int(rank_text) if re.fullmatch("[0-9]{1,9}", rank_text) else 0
    if not 1 <= rank <= limit:
        raise WireError(
            "a broadcast's factors have an impossible rank",
            where=name,
            got=rank_text[:20],
            expected=f"1 to {limit}",
        )
    rows, columns = spec.shape
    return {
        name + _LEFT: TensorSpec(shape=(rows, rank), dtype=spec.dtype),
        name + _RIGHT: TensorSpec(shape=(rank, columns), dtype=spec.dtype),
    }
