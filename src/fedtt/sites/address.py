"""Network addresses, and which of them may be used without keys."""

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from fedtt.errors import ConfigError, SitesError

LOOPBACK_NAME = "localhost"
NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}  # what OpenSSL calls an answer in plain text


@dataclass(frozen=True, kw_only=True)
class Address:
    """A host, by name or number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can be meant."""
        if self.host == LOOPBACK_NAME:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str, *, where: str) -> Address:
    """``HOST:PORT`` or ``[IPV6]:PORT``. Raises :class:`ConfigError`; ``where`` is the option."""
    host, separator, digits = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    port = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else 0
    bare = host[1:-1] if bracketed else host
    strange = any(not character.isprintable() or character in " /@[]" for character in bare)
    if not (separator and bare and 0 < port < 2**16) or strange or (":" in bare) != bracketed:
        raise ConfigError(
            "not an address",
            where=where,
            got=repr(text),
            expected="HOST:PORT or [IPV6]:PORT, with a port from 1 to 65535",
            fix=f"for example {where} 127.0.0.1:9092",
        )
    return Address(host=bare, port=port)


def check_exposure(address: Address, *, has_keys: bool, plain_text: bool) -> str | None:
    """Plain text stays on this machine unless the user says otherwise.

    Returns a warning to show, if there is one. Raises :class:`ConfigError`.
    """
    if has_keys and plain_text:
        raise ConfigError(
            "keys and plain text exclude each other",
            got="--keys and --plain-text",
            fix="leave --plain-text out: with keys everything is encrypted and authenticated",
        )
    if has_keys or address.is_loopback:
        return None
    if not plain_text:
        raise ConfigError(
            "that address is not on this machine, and there are no keys",
            got=address,
            expected="TLS and a key of every site, for anything but loopback",
            fix="make keys with `fedtt keys DIR --host NAME --site NAME ...` and give --keys "
            "(docs/deploy.md); or, on a network where everyone is trusted, --plain-text",
        )
    return (
        f"--plain-text on {address}: nothing is encrypted and no one is authenticated. Whoever "
        "reaches this port, or the network between, can read and change models and updates, and "
        "take part under any site's name"
    )


def check_server(address: Address, *, ca: Path | None, timeout: float) -> None:
    """Raise :class:`SitesError` where a server listens that is not the one with these keys.

    ``ca`` is the authority that must have signed its certificate; None: it must have none. Returns
    where nobody listens yet: whoever calls waits. (Flower's SuperNode tries such a server again,
    silently and for ever.)
    """
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    if ca is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=address.host),
        ):
            speaks_tls = True
    except ssl.SSLCertVerificationError as error:
        raise SitesError(
            "the server's certificate does not verify",
            where=str(address),
            got=error.verify_message,
            expected=f"one that {ca} signed, for {address.host}",
            fix="use the keys that fedtt keys made for this server, and its name",
        ) from error
    except ssl.SSLError as error:
        if error.reason not in NO_TLS:
            return
        speaks_tls = False
    except OSError:
        return
    if speaks_tls == (ca is None):
        raise SitesError(
            "the server speaks TLS" if speaks_tls else "the server speaks plain text",
            where=str(address),
            got="no --keys" if speaks_tls else "--keys",
            fix="give --keys with the keys that fedtt keys made for this site"
            if speaks_tls
            else "start the server with --keys too",
        )
