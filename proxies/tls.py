"""TLS of the data plane: contexts from settings and from PEM, and what is checked of a pod's certificate.

Contexts live as long as their listener, so that sessions can be resumed; a new certificate is put into the context
that is there, and counts for handshakes from then on. It is tried on another context first: a pair that does not fit
together changes nothing.

Importing this loads `ssl`: only who serves or speaks TLS does so.

Source: spec queue-proxy.md 2.2 and 15, activator.md 11.
"""

import os
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxies.environment import Environment

__all__ = ["PodSecurity", "TlsSettings", "Trust", "load_pair", "server_context"]

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CURVES: Final = {
    "X25519": "X25519",
    "X25519MLKEM768": "X25519MLKEM768",
    "CurveP256": "prime256v1",
    "P-256": "prime256v1",
    "CurveP384": "secp384r1",
    "P-384": "secp384r1",
    "CurveP521": "secp521r1",
    "P-521": "secp521r1",
}
# Go's names of what OpenSSL calls otherwise: the suites of TLS 1.2 that Go calls secure. Those of 1.3 are not chosen.
_SUITES: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
_SUITES_OF_1_3: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_POD_NAME: Final = "data-plane.knative.dev"
_USER_PREFIX: Final = "kn-user-"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """What a listener offers."""

    least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    suites: tuple[str, ...] = ()
    """Of TLS 1.2, in OpenSSL's names; empty: OpenSSL's choice."""
    curve: str = ""
    """The only curve, in OpenSSL's name; empty: OpenSSL's choice."""

    @classmethod
    def read(cls, env: Environment, prefix: str) -> "TlsSettings":
        """Read `<prefix>MIN_VERSION` and so on; what is wrong is remembered in `env`."""

        def version(name: str) -> ssl.TLSVersion:
            text = env.text(prefix + name, "").strip() or "1.3"
            if text not in _VERSIONS:
                env.refuse(f"{prefix}{name}={text!r}: expected 1.2 or 1.3")
            return _VERSIONS.get(text, ssl.TLSVersion.TLSv1_3)

        def names(name: str, known: Collection[str]) -> list[str]:
            found = [text.strip() for text in env.text(prefix + name, "").split(",") if text.strip()]
            for each in found:
                if each not in known:
                    env.refuse(f"{prefix}{name}: expected names among {', '.join(known)}, got {each!r}")
            return found

        least, most = version("MIN_VERSION"), version("MAX_VERSION")
        if least > most:
            env.refuse(f"{prefix}MIN_VERSION: expected at most {prefix}MAX_VERSION")
        suites = [_SUITES[each] for each in names("CIPHER_SUITES", (*_SUITES, *_SUITES_OF_1_3)) if each in _SUITES]
        curves = names("CURVE_PREFERENCES", _CURVES)
        # OpenSSL's own list begins with the same ones; Python can narrow it down to one curve, but not reorder it.
        curve = _CURVES.get(curves[0], "") if len(curves) == 1 else ""
        return cls(least=least, most=most, suites=tuple(suites), curve=curve)


def server_context(settings: TlsSettings, certificate: bytes, key: bytes) -> ssl.SSLContext:
    """Return the context of a listener for HTTP/2 and HTTP/1.1. Raises `ValueError` for a pair that is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = settings.least
    context.maximum_version = settings.most
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if settings.suites:
        context.set_ciphers(":".join(settings.suites))
    if settings.curve:
        try:
            context.set_ecdh_curve(settings.curve)
        except ValueError as error:
            raise ValueError(f"this OpenSSL ({ssl.OPENSSL_VERSION}) has no curve {settings.curve}") from error
    context.set_alpn_protocols(["h2", "http/1.1"])
    load_pair(context, certificate, key)
    return context


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have `context` show a certificate from now on. Raises `ValueError`, and changes nothing, for a pair that is none.

    `certificate`: a chain in PEM, the leaf first; `key`: its key in PEM, without a passphrase.
    """
    for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
        with _SecretFile(certificate) as certificate_path, _SecretFile(key) as key_path:
            try:
                each.load_cert_chain(certificate_path, key_path, password=_no_passphrase)
            except (ssl.SSLError, OSError, ValueError) as error:
                raise ValueError(f"expected a certificate and its key in PEM: {error}") from error


class Trust:
    """Whom to trust that a peer is who it says. Connections that are opened take what is there then."""

    __slots__ = ("context",)

    def __init__(self, authorities: str) -> None:
        """`authorities`: certificates in PEM. Raises `ValueError` when there is none."""
        self.context = _client_context(authorities)

    def renew(self, authorities: str) -> None:
        """Trust these from now on. Raises `ValueError`, and changes nothing, when there is none."""
        self.context = _client_context(authorities)


class PodSecurity:
    """How the pods of one namespace are spoken to (`upstream.Security`)."""

    __slots__ = ("_trust", "_wanted", "server_name")

    def __init__(self, trust: Trust, namespace: str) -> None:
        self._trust = trust
        self._wanted = _USER_PREFIX + namespace.lower()
        self.server_name = _POD_NAME

    @property
    def context(self) -> ssl.SSLContext:
        """For a connection that is opened now."""
        return self._trust.context

    def refusal(self, certificate: Mapping[str, Any]) -> str:
        """Return what is wrong with a pod's certificate: it is for one namespace, lest a pod of another stand in."""
        names = [name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"]
        if self._wanted in names:
            return ""
        return f'san "{self._wanted}" does not have a matching name in [{" ".join(names)}]'


def _client_context(authorities: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"expected certificates in PEM: {error}") from error
    if not context.cert_store_stats()["x509"]:
        raise ValueError("expected certificates in PEM, got none")
    return context


def _no_passphrase() -> str:
    """OpenSSL would ask the terminal."""
    raise ValueError("the key needs a passphrase")


class _SecretFile:
    """Bytes as a file that only this process can open and that is gone behind the block."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __enter__(self) -> str:
        self._descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        os.write(self._descriptor, self._data)
        return f"/proc/self/fd/{self._descriptor}"

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)
