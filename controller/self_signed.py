"""A certificate for one server and an authority that has signed nothing else; its key is forgotten at once.

Source: knative.dev/pkg `webhook/certificates/resources`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["SelfSigned", "expires_at", "issue"]

_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """All as PEM."""

    authority: bytes
    certificate: bytes
    key: bytes


def issue(names: Sequence[str], now_s: float, lifetime_s: float) -> SelfSigned:
    """For the DNS `names`, the first of which is its subject; valid from `now_s`."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    begin = datetime.fromtimestamp(now_s, UTC)
    end = begin + timedelta(seconds=lifetime_s)
    issuer = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"knuv authority {x509.random_serial_number():x}"[:64])]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    # Longer names are in the extension, where everybody looks.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    authority = (
        _builder(issuer, issuer, authority_key, begin, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(subject, issuer, key, begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return SelfSigned(
        authority.public_bytes(encoding),
        certificate.public_bytes(encoding),
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def expires_at(certificate: bytes, name: str) -> float:
    """When a certificate that is good for `name` ends, in seconds since 1970. Raises `ValueError` for any other."""
    found = x509.load_pem_x509_certificate(certificate)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise ValueError("it has no names") from error
    if name not in names.get_values_for_type(x509.DNSName):
        raise ValueError(f"it is not for {name}")
    return found.not_valid_after_utc.timestamp()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _CLOCK_SKEW)
        .not_valid_after(end)
    )
