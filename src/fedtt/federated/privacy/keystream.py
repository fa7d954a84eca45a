"""Random words that nobody without the run's secret can foresee, the same ones every time.

A stream is ChaCha20's keystream (RFC 8439) under a key of its own, which BLAKE2b makes of the
secret and of the stream's name: purpose, round, and what else tells it from the others. So no key
is used twice, and a run that is resumed draws the same words again.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fedtt.errors import ConfigError

Words = npt.NDArray[np.uint64]


class Stream(Protocol):
    """Uniform words of 64 bits, one after another; drawing them is what changes it."""

    def words(self, count: int) -> Words:
        """The next ``count`` words."""
        ...


# (purpose, ...) -> its stream, from the beginning.
Streams = Callable[..., Stream]


class Keystream:
    """The keystream of one key, 32 bytes."""

    def __init__(self, key: bytes) -> None:
        algorithms, cipher = _chacha20()
        self._encryptor = cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()

    def words(self, count: int) -> Words:
        """The next ``count`` words."""
        return np.frombuffer(self._encryptor.update(bytes(8 * count)), dtype="<u8")


def secret_streams(secret: bytes) -> Streams:
    """The streams of a secret of at most 64 bytes."""

    def stream(*path: str | int) -> Keystream:
        name = json.dumps(path, separators=(",", ":"), ensure_ascii=True).encode()
        person = b"fedtt privacy"
        return Keystream(hashlib.blake2b(name, key=secret, digest_size=32, person=person).digest())

    return stream


def _chacha20() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
    except ImportError as error:
        raise missing_extra("cryptography") from error
    return algorithms, Cipher


def missing_extra(package: str) -> ConfigError:
    """The error for a package of the extra ``privacy`` that is not installed."""
    return ConfigError(
        f"differential privacy needs the package {package}",
        where="privacy",
        fix='pip install "fedtt[privacy]"',
    )
