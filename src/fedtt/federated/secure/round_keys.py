"""The keys of one round: agreed between two clients, and what is made of them.

X25519 (RFC 7748) agrees, HKDF with SHA-256 (RFC 5869) makes a key for one purpose of it, and that
key is used once: ChaCha20-Poly1305 (RFC 8439) for a message, ChaCha20's keystream for a mask. All
of the package ``cryptography``.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from fedtt.errors import ConfigError, WireError
from fedtt.federated.privacy.keystream import Keystream
from fedtt.federated.secure.ring_encoding import Words

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as error:
    raise ConfigError(
        "secure aggregation needs the package cryptography",
        where="privacy.secure_aggregation",
        fix='pip install "fedtt[privacy]"',
    ) from error

KEY_BYTES = 32
SEALED_EXTRA = 16  # bytes of the tag
_NONCE = bytes(12)  # every key seals one message


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A private key and its public one, 32 bytes each."""

    private: bytes = field(repr=False)
    public: bytes


def key_pair(private: bytes) -> KeyPair:
    """The pair of that private key: any 32 bytes."""
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    return KeyPair(private=private, public=public)


def clamped(private: bytes) -> bytes:
    """As X25519 takes it: of the private keys that are one to it, the one of that kind."""
    return bytes((private[0] & 248, *private[1:-1], private[-1] & 127 | 64))


def agreed_key(private: bytes, public: bytes, *, purpose: bytes) -> bytes:
    """What both ends make of their own private key and the other's public one.

    Raises :class:`WireError` for a public key that agrees on nothing.
    """
    try:
        secret = X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError as error:
        raise WireError("a public key that no secret comes of", got=public.hex()) from error
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)


def seal_once(key: bytes, text: bytes, *, about: bytes) -> bytes:
    """The text, which only the key opens; of one key one text."""
    return ChaCha20Poly1305(key).encrypt(_NONCE, text, about)


def open_once(key: bytes, sealed: bytes, *, about: bytes) -> bytes:
    """The text. Raises :class:`WireError` unless it was sealed by that key, about the same."""
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, about)
    except InvalidTag as error:
        raise WireError("shares that their key does not open") from error


def mask_of(key: bytes, count: int) -> Words:
    """So many uniform words."""
    doubles = Keystream(key).words(-(-count // 2))
    return doubles.view(np.dtype("<u4"))[:count].astype(np.uint32)


def commitment_of(seed: bytes) -> bytes:
    """What tells later that a seed is the one that was meant."""
    return hashlib.sha256(b"fedtt mask seed" + seed).digest()
