"""The certificates of a federation: one authority of its own, and the server's certificate."""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedtt.errors import ConfigError

CURVE = ec.SECP384R1()
AUTHORITY_DAYS = 3650
# Clocks of server and sites may differ by so much.
SKEW = timedelta(hours=1)
# The server reaches its own SuperLink there.
OWN_HOSTS = ("localhost", "127.0.0.1", "::1")
LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def make_authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate authority that may sign end certificates only."""
    key = ec.generate_private_key(CURVE)
    name = _name("fedtt federation")
    certificate = (
        _builder(subject=name, issuer=name, public_key=key.public_key(), days=AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA384())
    )
    return certificate, key


def make_server_certificate(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    *,
    hosts: Sequence[str],
    days: int,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate for ``hosts``, names or numbers, and for the server's own loopback."""
    key = ec.generate_private_key(CURVE)
    alternatives = [subject_alternative(host) for host in dict.fromkeys([*hosts, *OWN_HOSTS])]
    certificate = (
        _builder(
            subject=_name("fedtt server"),
            issuer=authority.subject,
            public_key=key.public_key(),
            days=days,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA384())
    )
    return certificate, key


def subject_alternative(host: str) -> x509.GeneralName:
    """The host as certificates name it. Raises :class:`ConfigError`."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    labels = host.split(".")
    # A last label of digits is a mistyped number: 10.0.0.300.
    if len(host) > 253 or labels[-1].isdigit() or not all(map(LABEL.fullmatch, labels)):
        raise ConfigError(
            "not a host that a certificate can name",
            where="--host",
            got=repr(host),
            expected="a DNS name in ASCII, or an IP address, without port",
            fix="fedtt keys DIR --host federation.example.org --site NAME ...",
        )
    return x509.DNSName(host)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key in PEM, as TLS libraries read it; not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(certificate: x509.Certificate) -> bytes:
    """The certificate in PEM."""
    return certificate.public_bytes(Encoding.PEM)


def _builder(
    *, subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in allowed for name in USAGES})
