"""What a client sends: its delta, and how many examples, steps and nats stand behind it."""

import math
import re
from collections.abc import Mapping

from fedtt.errors import WireError
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.codec import Codec
from fedtt.federated.wire.payload import decode, encode, encoded_length
from fedtt.federated.wire.plain import PLAIN
from fedtt.params import Structure, non_finite_names


def encode_update(update: ClientUpdate, *, codec: Codec = PLAIN, seed: int = 0) -> bytes:
    """Uplink payload: the delta, and its counts and loss in the header.

    The header has a fixed width, so one structure always gives headers of one length.
    """
    counts = _counts(update.num_examples, update.num_steps, update.loss)
    return encode(update.delta, metadata=counts, codec=codec, seed=seed)


def update_length(structure: Structure, *, codec: Codec = PLAIN) -> int:
    """Length of the uplink payload of a delta of that structure."""
    return encoded_length(structure, metadata=_counts(1, 1, 0.0), codec=codec)


def decode_update(payload: bytes, *, expected: Structure, codec: Codec = PLAIN) -> ClientUpdate:
    """The client update in an uplink payload. Raises :class:`WireError` for anything implausible.

    A NaN or an infinity anywhere is refused here, so that it never reaches the global model.
    """
    delta, header = decode(payload, expected=expected, codec=codec)
    num_examples, num_steps = _count(header, "num_examples"), _count(header, "num_steps")
    try:
        loss = float(header["loss"])
    except (KeyError, ValueError) as error:
        raise WireError("an update lacks its loss", got=header.get("loss")) from error
    if not math.isfinite(loss):
        raise WireError("an update has an impossible loss", got=loss)
    bad = non_finite_names(delta)
    if bad:
        raise WireError("an update is not finite", where=", ".join(bad[:3]), got="NaN or infinity")
    return ClientUpdate(delta=delta, num_examples=num_examples, num_steps=num_steps, loss=loss)


def _counts(num_examples: int, num_steps: int, loss: float) -> dict[str, str]:
    return {
        "num_examples": f"{num_examples:012d}",
        "num_steps": f"{num_steps:012d}",
        "loss": f"{loss:+.17e}".ljust(25),
    }


def _count(header: Mapping[str, str], key: str) -> int:
    """A count as it is written: twelve digits, so no client can weigh more than 10^12 examples."""
    text = header.get(key, "")
    if not re.fullmatch("[0-9]{12}", text) or int(text) < 1:
        raise WireError(f"an update has an impossible {key}", got=text[:40])
    return int(text)
