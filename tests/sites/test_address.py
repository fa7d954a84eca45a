"""Addresses, and plain text that does not leave this machine unasked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.errors import ConfigError
from fedtt.sites.address import Address, check_exposure, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:9092", "127.0.0.1", 9092, True),
        ("127.8.9.1:1", "127.8.9.1", 1, True),
        ("localhost:65535", "localhost", 65535, True),
        ("[::1]:9092", "::1", 9092, True),
        ("0.0.0.0:9092", "0.0.0.0", 9092, False),
        ("[::]:9092", "::", 9092, False),
        ("192.0.2.7:80", "192.0.2.7", 80, False),
        ("fed.example.org:9092", "fed.example.org", 9092, False),
        ("localhost.example.org:9092", "localhost.example.org", 9092, False),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_address(text, where="--address")
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", "host:", ":9092", "host:0", "host:65536", "host:-1", "host:9 2", "host:٣"),
        *(
            "::1:9092",
            "[::1]",
            "[]:9092",
            "http://host:80",
            "user@host:80",
            "ho st:80",
            "ho\nst:80",
        ),
        *("host:123456", "[host:80", "h]ost:80"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not an address") as caught:
        parse_address(text, where="--address")
    assert "HOST:PORT" in str(caught.value)


@given(st.text(max_size=30))
def test_what_is_taken_comes_back(text: str) -> None:
    try:
        address = parse_address(text, where="--address")
    except ConfigError:
        return
    assert parse_address(str(address), where="--address") == address


def test_plain_text_off_loopback_needs_a_flag_and_warns() -> None:
    here = Address(host="127.0.0.1", port=9092)
    everywhere = Address(host="0.0.0.0", port=9092)
    assert check_exposure(here, has_keys=False, plain_text=False) is None
    assert check_exposure(everywhere, has_keys=True, plain_text=False) is None
    with pytest.raises(ConfigError, match="not on this machine, and there are no keys") as caught:
        check_exposure(everywhere, has_keys=False, plain_text=False)
    assert "fedtt keys DIR" in str(caught.value)
    assert "--plain-text" in str(caught.value)
    warning = check_exposure(everywhere, has_keys=False, plain_text=True)
    assert warning is not None
    assert "nothing is encrypted" in warning
    with pytest.raises(ConfigError, match="exclude each other"):
        check_exposure(everywhere, has_keys=True, plain_text=True)
