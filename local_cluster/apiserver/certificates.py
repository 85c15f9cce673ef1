"""The stack's own certificate authority, the server certificates it signs, and the kubeconfig that trusts it.

Keys are ECDSA P-256: every TLS 1.3 client offers it, and a handshake is cheap. Files with keys or tokens are written
0600 before any content is in them.
"""

import base64
import ipaddress
import json
import os
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CertificateAuthority", "ServerCertificate", "render_kubeconfig", "write_kubeconfig", "write_private"]

_LIFETIME = timedelta(days=3650)
"""A stack's state directory outlives no decade; renewal is not worth its code."""
_CLOCK_SKEW = timedelta(minutes=5)
_CA_CERTIFICATE, _CA_KEY = "ca.crt", "ca.key"

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A certificate with its key, both as PEM."""

    certificate_pem: bytes
    key_pem: bytes

    def ssl_context(self) -> ssl.SSLContext:
        """A server context for TLS 1.3 that offers HTTP/1.1."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["http/1.1"])
        # The standard library loads keys from files only.
        with tempfile.TemporaryDirectory() as directory:
            certificate, key = Path(directory) / "tls.crt", Path(directory) / "tls.key"
            certificate.write_bytes(self.certificate_pem)
            write_private(key, self.key_pem)
            context.load_cert_chain(certificate, key)
        return context


class CertificateAuthority:
    """Signs server certificates; clients are given `certificate_pem`."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls) -> "CertificateAuthority":
        """A fresh authority with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "knuv-ca")])
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, directory: Path) -> "CertificateAuthority":
        """Read what `save` wrote. Raises `OSError` or `ValueError` when it is not there or not ours."""
        certificate = x509.load_pem_x509_certificate((directory / _CA_CERTIFICATE).read_bytes())
        key = serialization.load_pem_private_key((directory / _CA_KEY).read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{directory / _CA_KEY}: expected an ECDSA key, got {type(key).__name__}")
        return cls(certificate, key)

    def save(self, directory: Path) -> None:
        """Write certificate and key into `directory`, the key readable by the owner alone."""
        directory.mkdir(parents=True, exist_ok=True)
        write_private(directory / _CA_KEY, _key_pem(self._key))
        (directory / _CA_CERTIFICATE).write_bytes(self.certificate_pem)

    @property
    def certificate_pem(self) -> bytes:
        """What clients check servers against."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue_server(self, dns_names: Iterable[str], ips: Iterable[str | IpAddress]) -> ServerCertificate:
        """A server certificate for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "knuv-apiserver")])
        certificate = (
            _builder(subject, self._certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return ServerCertificate(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def write_kubeconfig(path: Path, server_url: str, ca_pem: bytes, token: str, namespace: str = "default") -> None:
    """Write a kubeconfig with one context, readable by the owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, render_kubeconfig(server_url, ca_pem, token, namespace).encode())


def render_kubeconfig(server_url: str, ca_pem: bytes, token: str, namespace: str = "default") -> str:
    """A kubeconfig with one context. In JSON, which is YAML as well: who reads it needs no parser of YAML."""
    certificate = base64.b64encode(ca_pem).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "knuv", "cluster": {"server": server_url, "certificate-authority-data": certificate}}],
        "users": [{"name": "knuv", "user": {"token": token}}],
        "contexts": [{"name": "knuv", "context": {"cluster": "knuv", "user": "knuv", "namespace": namespace}}],
        "current-context": "knuv",
    }
    return json.dumps(config, indent=2) + "\n"


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` in one step; at no time do others see the content."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp creates 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
