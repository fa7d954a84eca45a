"""What the server tells a client in a round: the values it is missing, and what to train.

What a round in a subspace changed, or one whose step a codec makes smaller, travels as that step,
as long as the steps that a client missed are smaller than the values themselves.

The names of parameters do not travel. Both ends know the sorted names that can be exchanged; a
payload that holds, or trains, only some of them says so in its header, one bit a name (in hex).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch

from fedtt import params as p
from fedtt.errors import WireError
from fedtt.federated.sent_step import SentStep
from fedtt.federated.subspace import Subspace, answer_of
from fedtt.federated.types import Factors, ServerState
from fedtt.federated.wire.codec import Codec
from fedtt.federated.wire.frame import MAX_HEADER_BYTES, Frame, seal, sealed_length, unseal
from fedtt.federated.wire.payload import (
    check_header,
    decode,
    encode,
    encoded_length,
    header_of,
    read_header,
)
from fedtt.federated.wire.plain import PLAIN
from fedtt.params import Params, Structure, TensorSpec

_LEFT, _RIGHT = "/left", "/right"
_NEVER = -1  # the round before the first
STEPS = "steps"  # key of the header
_MAX_STEPS_TEXT = MAX_HEADER_BYTES // 2  # characters of the header, which holds more


@dataclass(frozen=True, kw_only=True)
class Broadcast:
    """``values`` replace the client's, ``factors`` are added to them, ``trained`` it trains.

    ``steps`` are what rounds that the client missed did, by round: with them there are no values.
    """

    values: Params
    trained: frozenset[str]
    factors: Factors = field(default_factory=dict)
    steps: Mapping[int, SentStep] = field(default_factory=dict)

    def apply(
        self, known: Params, *, subspace: Subspace | None = None, codec: Codec = PLAIN
    ) -> dict[str, torch.Tensor]:
        """The client's parameters after the broadcast, given those that it knew before.

        Raises :class:`WireError` for steps that ``codec`` did not write; ``known`` stays as it is.
        """
        changed = {name: known[name] + left @ right for name, (left, right) in self.factors.items()}
        after: Params = {**known, **self.values, **changed}
        for index, step in sorted(self.steps.items()):
            after = step.apply(after, subspace=subspace, codec=codec, round_index=index)
        return dict(after)


def broadcast_for(
    state: ServerState,
    *,
    client_id: str,
    trained: frozenset[str],
    pretrained: Collection[str],
) -> Broadcast:
    """What ``client_id`` needs: whatever changed since it was last heard.

    A client that was never heard has what the run began with, and gets what changed since; a
    stranger gets everything but what it has from the pretrained model. A client that was heard in
    the round before gets factored changes where they are smaller, and one that missed rounds gets
    their steps where the state has them.
    """
    unheard = None if client_id in state.strangers else _NEVER
    synced = state.synced_at.get(client_id, unheard)
    missing = [name for name in state.params if _is_missing(state, name, synced, pretrained)]
    factors = {}
    if synced == state.next_round - 1:
        factors = {
            name: pair
            for name, pair in state.factors.items()
            if sum(factor.numel() for factor in pair) < state.params[name].numel()
        }
    values = p.select(state.params, [name for name in missing if name not in factors])
    news = Broadcast(values=values, trained=trained, factors=factors)
    if synced is None or max(synced, 0) < state.steps_since:
        return news  # some of the steps are not kept any more
    steps = {index: step for index, step in state.steps.items() if index >= synced}
    if not steps or not _is_smaller(steps, news, structure=p.structure_of(state.params)):
        return news
    return replace(news, values={}, steps=steps)


def _is_smaller(steps: Mapping[int, SentStep], news: Broadcast, *, structure: Structure) -> bool:
    sent = sum(len(step.body) for step in steps.values())
    values = sum(tensor.nbytes for tensor in news.values.values())
    return sent < values and len(_steps_text(steps, structure)) <= _MAX_STEPS_TEXT


def encode_broadcast(broadcast: Broadcast, *, structure: Structure, codec: Codec = PLAIN) -> bytes:
    """Payload for a client that knows ``structure``, every parameter that can be exchanged.

    ``codec`` is the one that steps are in.
    """
    metadata = _metadata(broadcast, structure)
    if not broadcast.steps:
        return encode(_tensors(broadcast), metadata=metadata)
    bodies = [broadcast.steps[index].body for index in sorted(broadcast.steps)]
    return seal(Frame(header=header_of(structure, metadata, codec), body=b"".join(bodies)))


def broadcast_length(broadcast: Broadcast, *, structure: Structure, codec: Codec = PLAIN) -> int:
    """Length of the payload, without making it."""
    metadata = _metadata(broadcast, structure)
    if broadcast.steps:
        bodies = sum(len(step.body) for step in broadcast.steps.values())
        return sealed_length(header_of(structure, metadata, codec), body_length=bodies)
    return encoded_length(p.structure_of(_tensors(broadcast)), metadata=metadata)


def decode_broadcast(
    payload: bytes,
    *,
    structure: Structure,
    subspace: Subspace | None = None,
    codec: Codec = PLAIN,
) -> Broadcast:
    """What a broadcast payload says to a client that knows ``structure``, and its ``subspace``.

    ``codec`` is that of steps, whose numbers are decoded where they are applied. Raises
    :class:`WireError` for a payload made for other parameters, or not plausible.
    """
    frame = unseal(payload)
    header = frame.header
    trained = _names(header, "trained", structure, default=set(structure))
    if STEPS in header:
        steps = _read_steps(frame, structure, subspace=subspace, codec=codec)
        return Broadcast(values={}, trained=frozenset(trained), steps=steps)
    sent = _names(header, "sent", structure, default=set(structure))
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
    metadata: dict[str, str] = {}
    if broadcast.steps:
        metadata[STEPS] = _steps_text(broadcast.steps, structure)
    elif broadcast.values.keys() != structure.keys():
        metadata["sent"] = _mask(broadcast.values, structure)
    if broadcast.trained != structure.keys():
        metadata["trained"] = _mask(broadcast.trained, structure)
    if broadcast.factors:
        (rank,) = {left.shape[1] for left, _ in broadcast.factors.values()}
        metadata |= {"factored": _mask(broadcast.factors, structure), "rank": str(rank)}
    return metadata


def _steps_text(steps: Mapping[int, SentStep], structure: Structure) -> str:
    """Every step's round, its length and, where it moves only some of the parameters, which."""
    return ",".join(
        f"{index}/{len(step.body)}"
        + ("" if step.names == structure.keys() else f":{_mask(step.names, structure)}")
        for index, step in sorted(steps.items())
    )


def _read_steps(
    frame: Frame, structure: Structure, *, subspace: Subspace | None, codec: Codec
) -> dict[int, SentStep]:
    """The rounds whose steps a broadcast brings, not decoded yet: they may be known already."""
    if subspace is None and codec == PLAIN:
        raise WireError(
            "a broadcast brings steps, which this run does not have",
            got=frame.header[STEPS][:40],
            expected="values",
        )
    check_header(frame.header, structure, codec)
    text = frame.header[STEPS]
    if len(text) > _MAX_STEPS_TEXT:
        raise WireError(
            "a broadcast brings more steps than one can",
            got=f"{len(text)} characters of them",
            expected=f"at most {_MAX_STEPS_TEXT}",
        )
    steps: dict[int, SentStep] = {}
    start = 0
    for entry in text.split(","):
        found = re.fullmatch("([0-9]{1,9})/([0-9]{1,12})(?::([0-9a-f]+))?", entry)
        if found is None:
            raise WireError("a broadcast's steps cannot be read", got=entry[:40])
        index, length, mask = int(found[1]), int(found[2]), found[3]
        names = set(structure) if mask is None else _names_of(mask, STEPS, structure)
        if not names or index <= max(steps, default=-1):
            raise WireError("a broadcast's steps are in no order, or of nothing", got=entry[:40])
        most = codec.length(answer_of(structure, trained=names, subspace=subspace))
        if not 0 < length <= most or start + length > len(frame.body):
            raise WireError(
                "a broadcast's step has an impossible length",
                got=entry[:40],
                expected=f"at most {min(most, len(frame.body) - start)} bytes",
            )
        body = frame.body[start : start + length]
        steps[index] = SentStep(names=frozenset(names), body=body)
        start += length
    if start != len(frame.body):
        raise WireError(
            "a broadcast is longer than its steps",
            got=f"{len(frame.body)} bytes",
            expected=f"{start} bytes",
        )
    return steps


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
    return default if text is None else _names_of(text, key, structure)


def _names_of(text: str, key: str, structure: Structure) -> set[str]:
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
