"""Mutated payloads and files: each is refused by its own error, or is what was sent.

    python -m tests.federated.fuzz [--mutations 1000000] [--seed 0]

Four kinds in turn: an update in its frame; a body inside a frame that is sealed again, so that the
codec itself sees it; a broadcast, of values and of steps, sealed again; now and then a state file.
``make fuzz`` makes 1,000,000 mutations; tests/federated/test_fuzz.py a few thousand.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from fedtt import params as p
from fedtt.engine.checkpoint import load_state, save_state
from fedtt.errors import RunError, WireError
from fedtt.federated.sent_step import sent_step
from fedtt.federated.subspace import THETA, Subspace
from fedtt.federated.types import ClientUpdate, ServerState
from fedtt.federated.wire.broadcast import Broadcast, decode_broadcast, encode_broadcast
from fedtt.federated.wire.codec import CODECS, Codec, CodecOptions
from fedtt.federated.wire.deflated import Deflated
from fedtt.federated.wire.frame import Frame, seal, unseal
from fedtt.federated.wire.plain import PLAIN
from fedtt.federated.wire.update import decode_update, encode_update

REFUSED, DECODED, UNCHANGED = "refused", "decoded", "unchanged"
STATES_EVERY = 100  # a file is a hundred times as slow as a payload
Target = Callable[[random.Random], str]


def params() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (3, 4), "b": (5,), "c": (), "d": (0, 2)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


PARAMS = params()
STRUCTURE = p.structure_of(PARAMS)


def codecs() -> list[Codec]:
    """Every row, by chance and to the nearest, and deflated."""
    rows = [
        CODECS[name].build(CodecOptions(block=8, stochastic=stochastic))
        for name in CODECS
        for stochastic in (True, False)
    ]
    return [*rows, *(Deflated(inner=codec) for codec in rows)]


def mutated(content: bytes, stream: random.Random) -> bytes:
    """Bits flipped, a piece replaced, cut, doubled or moved."""
    first, second = sorted(stream.randrange(len(content) + 1) for _ in range(2))
    match stream.randrange(6):
        case 0:
            changed = bytearray(content)
            for _ in range(stream.randrange(1, 4)):
                if changed:
                    changed[stream.randrange(len(changed))] ^= 1 << stream.randrange(8)
            return bytes(changed)
        case 1:
            piece = stream.randbytes(second - first)
            return content[:first] + piece + content[second:]
        case 2:
            return content[:first]
        case 3:
            return content[:second] + content[first:]
        case 4:
            return content[:first] + content[second:]
        case _:
            extreme = stream.choice([b"\0", b"\x7f", b"\x80", b"\xff"])
            return content[:first] + extreme * (second - first) + content[second:]


def update_in_its_frame(codec: Codec) -> Target:
    """The checksum refuses all that is changed."""
    sent = _update(codec)

    def target(stream: random.Random) -> str:
        payload = mutated(sent, stream)
        if payload == sent:
            return UNCHANGED
        try:
            decode_update(payload, expected=STRUCTURE, codec=codec)
        except WireError:
            return REFUSED
        raise AssertionError(f"accepted: {payload.hex()}")

    return target


def update_sealed_again(codec: Codec) -> Target:
    """What is decoded is of the structure, and finite."""
    frame = unseal(_update(codec))

    def target(stream: random.Random) -> str:
        header = dict(frame.header)
        if stream.random() < 0.2:
            key = stream.choice(sorted(header))
            header[key] = mutated(header[key].encode(), stream).decode("latin-1")
        body = mutated(frame.body, stream)
        try:
            update = decode_update(
                seal(Frame(header=header, body=body)), expected=STRUCTURE, codec=codec
            )
        except WireError:
            return REFUSED
        assert p.structure_of(update.delta) == STRUCTURE
        assert not p.non_finite_names(update.delta)
        return DECODED

    return target


def steps_sealed_again(codec: Codec, subspace: Subspace | None) -> Target:
    """What steps make of the parameters is of their structure."""
    names = ("a", "b")
    structure = {name: STRUCTURE[name] for name in names}
    known = p.select(PARAMS, names)
    numbers = known if subspace is None else {THETA: torch.ones(subspace.length(structure))}
    steps = {index: sent_step(names, numbers, codec=codec, seed=index) for index in (3, 4)}
    sent = Broadcast(values={}, trained=frozenset(names), steps=steps)
    frame = unseal(encode_broadcast(sent, structure=structure, codec=codec))

    def target(stream: random.Random) -> str:
        header = dict(frame.header)
        if stream.random() < 0.5:
            key = stream.choice(sorted(header))
            header[key] = mutated(header[key].encode(), stream).decode("latin-1")
        body = mutated(frame.body, stream) if stream.random() < 0.7 else frame.body
        try:
            broadcast = decode_broadcast(
                seal(Frame(header=header, body=body)),
                structure=structure,
                subspace=subspace,
                codec=codec,
            )
            after = broadcast.apply(known, subspace=subspace, codec=codec)
        except WireError:
            return REFUSED
        assert p.structure_of(after) == structure
        return DECODED

    return target


def broadcast_sealed_again(stream: random.Random) -> str:
    """What is decoded is of parameters that there are."""
    frame = unseal(BROADCAST)
    header = dict(frame.header)
    key = stream.choice(sorted(header))
    header[key] = mutated(header[key].encode(), stream).decode("latin-1")
    body = mutated(frame.body, stream) if stream.random() < 0.5 else frame.body
    payload = seal(Frame(header=header, body=body))
    if payload == BROADCAST:
        return UNCHANGED
    try:
        broadcast = decode_broadcast(payload, structure=STRUCTURE)
    except WireError:
        return REFUSED
    assert broadcast.values.keys() <= STRUCTURE.keys()
    assert broadcast.trained <= STRUCTURE.keys()
    return DECODED


def state_file(folder: Path) -> Target:
    """The checksum refuses all that is changed."""
    path = folder / "state.safetensors"
    state = ServerState(next_round=3, params=PARAMS)
    save_state(path, state, residuals={"x": p.scale(PARAMS, 0.5)})
    sent = path.read_bytes()

    def target(stream: random.Random) -> str:
        content = mutated(sent, stream)
        if content == sent:
            return UNCHANGED
        path.write_bytes(content)
        try:
            load_state(path, expected=STRUCTURE)
        except RunError:
            return REFUSED
        raise AssertionError(f"accepted: {content.hex()}")

    return target


def fuzz(mutations: int, *, seed: int) -> Counter[str]:
    """How many were refused, decoded, or not changed. Raises what a decoder should not."""
    stream = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        every = codecs()
        targets: list[Target] = [broadcast_sealed_again]
        targets += [make(c) for c in every for make in (update_in_its_frame, update_sealed_again)]
        targets += [
            steps_sealed_again(codec, subspace)
            for codec in every
            for subspace in (None, Subspace(size=7, redraw=1))
            if codec != PLAIN or subspace is not None
        ]
        state = state_file(Path(folder))
        return Counter(
            (state if index % STATES_EVERY == 0 else targets[index % len(targets)])(stream)
            for index in range(mutations)
        )


def _update(codec: Codec) -> bytes:
    update = ClientUpdate(delta=PARAMS, num_examples=5, num_steps=2, loss=0.5)
    return encode_update(update, codec=codec, seed=1)


BROADCAST = encode_broadcast(
    Broadcast(
        values={"b": PARAMS["b"]},
        trained=frozenset({"a", "b"}),
        factors={"a": (torch.ones(3, 1), torch.ones(1, 4))},
    ),
    structure=STRUCTURE,
)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.perf_counter()
    found = fuzz(arguments.mutations, seed=arguments.seed)
    told = ", ".join(f"{count:,} {what}" for what, count in sorted(found.items()))
    seconds = time.perf_counter() - began
    print(f"seed {arguments.seed}: {told}; {seconds:.0f} s")  # noqa: T201
