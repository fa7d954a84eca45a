"""The keys that a server and a site hold, read and checked before anything starts.

What ``fedtt keys DIR`` makes::

    DIR/ca.crt, ca.key             the authority; its key is needed only to make server certificates
    DIR/server/                    for the machine that serves
        ca.crt, server.crt, server.key
        sites/NAME.pub             who may join: a public key a site
    DIR/sites/NAME/                the bundle of one site, for its machine alone
        ca.crt, node.key, node.pub, site.json

A registered key acts as its own site only. Private keys are files of their owner alone.
"""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from fedtt.errors import ConfigError
from fedtt.strict_json import parse_json

AUTHORITY = "ca.crt"
AUTHORITY_KEY = "ca.key"
SERVER = "server"
CERTIFICATE = "server.crt"
SERVER_KEY = "server.key"
SITES = "sites"
NODE_KEY = "node.key"
NODE_PUBLIC = "node.pub"
SITE = "site.json"
# A site's name is a file's name too.
SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
# What the fence answers, as codes that Flower's SuperNode shows. Flower has one of its own for a
# key of no site, 2004, which it also says of a site that it believes to be there still.
NO_KEY, UNKNOWN_KEY = 2001, 9004
REMAKE = "fedtt keys DIR --host NAME --site NAME ... makes keys (docs/deploy.md)"
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)  # what cryptography raises


@dataclass(frozen=True, kw_only=True)
class ServerKeys:
    """``nodes`` is the OpenSSH public key file of every site that may join, by its name."""

    directory: Path
    ca: Path
    certificate: Path
    key: Path
    nodes: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class SiteKeys:
    """The bundle of the site ``name``."""

    name: str
    ca: Path
    private_key: Path


def load_server_keys(directory: Path) -> ServerKeys:
    """Keys of a directory ``server`` that ``fedtt keys`` made, or of the one that holds it.

    Raises :class:`ConfigError` for what is missing, expired, readable by others, or does not
    belong together.
    """
    if not (directory / CERTIFICATE).exists() and (directory / SERVER).is_dir():
        directory = directory / SERVER
    _check_directory(directory, expected="the directory `server` that `fedtt keys` made")
    keys = ServerKeys(
        directory=directory,
        ca=directory / AUTHORITY,
        certificate=directory / CERTIFICATE,
        key=directory / SERVER_KEY,
        nodes={
            path.name.removesuffix(".pub"): path
            for path in sorted((directory / SITES).glob("*.pub"))
        },
    )
    _check_server(keys)
    return keys


def load_site_keys(directory: Path) -> SiteKeys:
    """Keys of a site's bundle. Raises like :func:`load_server_keys`."""
    _check_directory(directory, expected="the bundle DIR/sites/NAME that `fedtt keys` made")
    try:
        name = parse_json(_read(directory / SITE))["site"]
    except (ValueError, TypeError, KeyError) as error:
        raise _unusable(directory / SITE, error) from error
    check_site_name(name, where=str(directory / SITE))
    read_authority(directory / AUTHORITY)
    path = directory / NODE_KEY
    try:
        key = load_ssh_private_key(_read_private(path), None)
    except UNREADABLE as error:
        raise _unusable(path, error) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _unusable(path, "no elliptic-curve key")
    return SiteKeys(name=name, ca=directory / AUTHORITY, private_key=path)


def check_site_name(name: object, *, where: str) -> None:
    """Raises :class:`ConfigError`."""
    if not (isinstance(name, str) and SITE_NAME.fullmatch(name)):
        raise ConfigError(
            "not a name for a site",
            where=where,
            got=repr(name),
            expected="at most 63 of A-Z a-z 0-9 _ -, the first a letter or a digit",
        )


def read_authority(path: Path) -> x509.Certificate:
    """The authority's certificate. Raises like :func:`load_server_keys`."""
    certificate = _certificate(path)
    _check_time(certificate, path, fix=f"make new keys in a new directory: {REMAKE}")
    return certificate


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """A site's public key. Raises like :func:`load_server_keys`."""
    try:
        key = load_ssh_public_key(_read(path))
    except UNREADABLE as error:
        raise _unusable(path, error) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _unusable(path, "no elliptic-curve key")
    return key


def public_key_pem(path: Path) -> bytes:
    """A site's public key as Flower sends and keeps it. Raises like :func:`load_server_keys`."""
    return read_public_key(path).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _check_server(keys: ServerKeys) -> None:
    authority, certificate = read_authority(keys.ca), _certificate(keys.certificate)
    _check_time(
        certificate, keys.certificate, fix="fedtt keys DIR --host NAME --overwrite makes a new one"
    )
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREADABLE, InvalidSignature) as error:
        raise _unusable(keys.certificate, f"not signed by {keys.ca}") from error
    try:
        private = load_pem_private_key(_read_private(keys.key), None)
    except UNREADABLE as error:
        raise _unusable(keys.key, error) from error
    if private.public_key() != certificate.public_key():
        raise _unusable(keys.key, f"not the key of {keys.certificate}")
    owners: dict[bytes, str] = {}
    for name, path in keys.nodes.items():
        check_site_name(name, where=str(path))
        owner = owners.setdefault(public_key_pem(path), name)
        if owner != name:
            raise _unusable(path, f"the key of site {owner!r} too; every site needs its own")
    if not keys.nodes:
        raise _unusable(keys.directory / SITES, "no public key of any site")


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except UNREADABLE as error:
        raise _unusable(path, error) from error


def _check_time(certificate: x509.Certificate, path: Path, *, fix: str) -> None:
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ConfigError(
            "a certificate that is not valid now",
            where=str(path),
            got=f"valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}, now {now:%Y-%m-%d %H:%M} UTC",
            fix=f"check this machine's clock; {fix}",
        )


def _check_directory(directory: Path, *, expected: str) -> None:
    if not directory.is_dir():
        raise ConfigError(
            "no keys there", where=str(directory), got="no directory", expected=expected, fix=REMAKE
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            "a file of the keys cannot be read", where=str(path), got=error.strerror, fix=REMAKE
        ) from error


def _read_private(path: Path) -> bytes:
    content = _read(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            "a private key that others can read is no secret",
            where=str(path),
            got=f"mode {mode:04o}",
            expected="mode 0600",
            fix=f"chmod 600 {path}",
        )
    return content


def _unusable(path: Path, reason: object) -> ConfigError:
    return ConfigError("keys that cannot be used", where=str(path), got=reason, fix=REMAKE)
