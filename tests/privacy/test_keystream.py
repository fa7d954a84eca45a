"""Streams that only the secret tells: the published cipher, one key a name, the same every time."""

import sys

import numpy as np
import pytest

from fedtt.errors import ConfigError
from fedtt.federated.privacy.keystream import Keystream, secret_streams

SECRET = bytes(range(32))


def test_it_is_chacha20_s_keystream() -> None:
    """RFC 8439, appendix A.1, test vector 1: key and nonce zero, block 0."""
    expected = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    assert Keystream(bytes(32)).words(4).tobytes() == expected


def test_a_stream_goes_on_where_it_stopped_and_begins_again_as_it_began() -> None:
    whole = secret_streams(SECRET)("noise", 3).words(100)
    stream = secret_streams(SECRET)("noise", 3)
    pieces = np.concatenate([stream.words(count) for count in (1, 0, 30, 69)])
    np.testing.assert_array_equal(whole, pieces)


def test_every_name_and_every_secret_has_a_stream_of_its_own() -> None:
    names = [
        ("noise", 1),
        ("noise", 11),
        ("count", 1),
        ("noise", "1"),
        ("noise", 1, ""),
        ("noise",),
    ]
    secrets = [SECRET, SECRET[::-1]]
    drawn = {
        secret_streams(secret)(*name).words(4).tobytes() for secret in secrets for name in names
    }
    assert len(drawn) == 12


def test_words_are_uniform_in_every_bit() -> None:
    bits = np.unpackbits(secret_streams(SECRET)("test").words(20_000).view(np.uint8)).reshape(
        -1, 64
    )
    # The mean of 20,000 coins is within 4.5 standard deviations for all of 64 bits.
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 4.5 * 0.5 / np.sqrt(20_000)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(ConfigError, match=r"needs the package cryptography(.|\n)*fedtt\[privacy\]"):
        Keystream(bytes(32))
