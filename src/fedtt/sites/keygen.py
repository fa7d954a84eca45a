"""Making keys: what ``fedtt keys`` writes, each file beside its place and then renamed."""

import json
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from fedtt.atomic_write import replace_file
from fedtt.errors import ConfigError
from fedtt.sites import keys as k
from fedtt.sites.certificates import (
    CURVE,
    make_authority,
    make_server_certificate,
    private_pem,
    public_pem,
    subject_alternative,
)

SERVER_DAYS = 825
PRIVATE, PUBLIC = 0o600, 0o644


def make_keys(
    directory: Path,
    *,
    hosts: Sequence[str] = (),
    names: Sequence[str] = (),
    days: int = SERVER_DAYS,
    overwrite: bool = False,
) -> list[Path]:
    """Make the server's certificate for ``hosts``, and a key pair for each site of ``names``.

    The authority is made once and kept. Returns what was written; see
    :mod:`fedtt.sites.keys` for where. Raises :class:`ConfigError` before writing anything
    where something would be overwritten and ``overwrite`` is false.
    """
    _check_arguments(directory, hosts, names, overwrite=overwrite)
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (directory / k.AUTHORITY).exists():
            written += _write_authority(directory)
        if hosts:
            written += _write_server(directory, hosts, days=days)
        for name in names:
            written += _write_site(directory, name)
    except OSError as error:
        raise ConfigError(
            "cannot write keys", where=error.filename or str(directory), got=error.strerror
        ) from error
    return written


def _check_arguments(
    directory: Path, hosts: Sequence[str], names: Sequence[str], *, overwrite: bool
) -> None:
    if not hosts and not names:
        raise ConfigError(
            "no keys to make", expected="--host for the server's certificate, --site for a site"
        )
    for host in hosts:
        subject_alternative(host)
    for name in names:
        k.check_site_name(name, where="--site")
    folded = [name.lower() for name in names]
    if len(set(folded)) < len(folded):
        raise ConfigError("two sites of one name", where="--site", got=", ".join(names))
    begun = (directory / k.AUTHORITY).exists()
    if not begun and not hosts:
        raise ConfigError(
            "no authority there yet",
            where=str(directory),
            expected="--host, the name or address under which the sites reach the server",
            fix="fedtt keys DIR --host NAME --site NAME ...",
        )
    places = [directory / k.SERVER / k.SERVER_KEY] if hosts else []
    places += [directory / k.SITES / name / k.NODE_KEY for name in names]
    if not begun:
        places.append(directory / k.AUTHORITY_KEY)
    _check_free(places, overwrite=overwrite and begun)


def _check_free(places: list[Path], *, overwrite: bool) -> None:
    taken = [path for path in places if path.exists()]
    if taken and not overwrite:
        raise ConfigError(
            "there are keys already",
            where=", ".join(map(str, taken)),
            fix="leave out what is there, to add to it; or --overwrite, after which the old keys "
            "no longer work",
        )


def _write_authority(directory: Path) -> list[Path]:
    certificate, key = make_authority()
    return [
        _write(directory / k.AUTHORITY_KEY, private_pem(key), mode=PRIVATE),
        _write(directory / k.AUTHORITY, public_pem(certificate), mode=PUBLIC),
    ]


def _write_server(directory: Path, hosts: Sequence[str], *, days: int) -> list[Path]:
    authority, authority_key = _read_authority(directory)
    certificate, key = make_server_certificate(authority, authority_key, hosts=hosts, days=days)
    place = directory / k.SERVER
    place.mkdir(exist_ok=True, mode=0o700)
    return [
        _write(place / k.AUTHORITY, public_pem(authority), mode=PUBLIC),
        _write(place / k.SERVER_KEY, private_pem(key), mode=PRIVATE),
        _write(place / k.CERTIFICATE, public_pem(certificate), mode=PUBLIC),
    ]


def _write_site(directory: Path, name: str) -> list[Path]:
    authority = k.read_authority(directory / k.AUTHORITY)
    key = ec.generate_private_key(CURVE)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    line = public + f" {name}\n".encode()
    bundle, guests = directory / k.SITES / name, directory / k.SERVER / k.SITES
    for place in (directory / k.SITES, bundle, guests):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [
        _write(bundle / k.AUTHORITY, public_pem(authority), mode=PUBLIC),
        _write(bundle / k.NODE_KEY, private, mode=PRIVATE),
        _write(bundle / k.NODE_PUBLIC, line, mode=PUBLIC),
        _write(bundle / k.SITE, json.dumps({"site": name}).encode() + b"\n", mode=PUBLIC),
        _write(guests / f"{name}.pub", line, mode=PUBLIC),
    ]


def _read_authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = k.read_authority(directory / k.AUTHORITY)
    path = directory / k.AUTHORITY_KEY
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, *k.UNREADABLE) as error:
        raise ConfigError(
            "a server certificate needs the authority's key",
            where=str(path),
            got=error,
            fix="bring ca.key back to where it was made, or make all keys anew elsewhere",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or (
        key.public_key() != certificate.public_key()
    ):
        raise ConfigError("not the key of the authority", where=str(path))
    return certificate, key


def _write(path: Path, content: bytes, *, mode: int) -> Path:
    replace_file(path, content, mode=mode)
    return path
