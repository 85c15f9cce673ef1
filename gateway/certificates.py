"""Certificates of the TLS faces: Secrets in, listeners out.

A face has a listener while somebody has a certificate for it, an Ingress or the face itself (for names without one of
their own). Names belong to one Ingress at a time, so no name is shown two certificates. A Secret that changes is taken
over if it can be used; otherwise the last good one stays. Source: spec ingress.md 5.3, 5.5.
"""

import base64
import binascii
import contextlib
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping

from gateway.faces import INTERNAL, INTERNAL_TLS
from gateway.listeners import Chain, tls_listener
from gateway.settings import GatewaySettings
from gateway.translate import CertificateUse
from gateway.xds import LISTENER, Resources
from kube.addresses import Address
from kube.models.core import Secret

__all__ = ["Certificates", "InvalidCertificate", "key_pair"]

Key = tuple[str, str]
Pair = tuple[bytes, bytes]


class InvalidCertificate(ValueError):
    """A Secret that is named for TLS does not exist, or holds no certificate with its key; the text says which."""


class Certificates:
    """Who uses which Secret. `faces`: TLS face -> its address; `secret` looks one up."""

    def __init__(
        self,
        resources: Resources,
        *,
        faces: Mapping[str, Address],
        secret: Callable[[str, str], Secret | None],
        access_log: str | None,
    ) -> None:
        self._resources = resources
        self._faces = faces
        self._secret = secret
        self._access_log = access_log
        self._settings = GatewaySettings()
        self._uses: dict[Key, frozenset[CertificateUse]] = {}
        self._pairs: dict[Key, Pair] = {}
        self._for_all: dict[str, Key] = {}

    def set_settings(self, settings: GatewaySettings, for_all: Mapping[str, Key] | None = None) -> bool:
        """How the faces behave from now on; whether a listener changed.

        `for_all`: TLS face -> the Secret with the certificate for names that have none of their own.
        """
        self._settings = settings
        self._for_all = dict(for_all or {})
        return self._put_listeners()

    def problems(self) -> list[str]:
        """Why certificates for all names cannot be shown as they are; nothing when they can."""
        found = []
        for secret in self._for_all.values():
            try:
                self._pair(*secret)
            except InvalidCertificate as error:
                found.append(str(error))
        return found

    def check(self, uses: Iterable[CertificateUse]) -> None:
        """Raise `InvalidCertificate` unless every Secret can be used."""
        for use in uses:
            self._pair(use.namespace, use.secret)

    def replace(self, key: Key, uses: frozenset[CertificateUse]) -> bool:
        """What an Ingress uses; whether a listener changed."""
        if self._uses.get(key, frozenset()) == uses:
            return False
        if uses:
            self._uses[key] = uses
        else:
            del self._uses[key]
        return self._put_listeners()

    def refresh(self, namespace: str, secret: str) -> bool:
        """A Secret changed; whether a listener changed. Raises `InvalidCertificate`, and then shows the former one."""
        if (namespace, secret) not in (*self._pairs, *self._for_all.values()):
            return False
        self._pair(namespace, secret)
        return self._put_listeners()

    def _pair(self, namespace: str, name: str) -> Pair:
        found = self._secret(namespace, name)
        if found is None:
            raise InvalidCertificate(f"Secret {namespace}/{name} for TLS not found")
        pair = self._pairs[namespace, name] = key_pair(found)
        return pair

    def _put_listeners(self) -> bool:
        changed = False
        held: set[Key] = set()
        for face, address in self._faces.items():
            names: dict[Key, set[str]] = {}
            for uses in self._uses.values():
                for use in uses:
                    if use.face == face:
                        names.setdefault((use.namespace, use.secret), set()).update(use.hosts)
            held.update(names)
            chains = [Chain(tuple(sorted(hosts)), *self._pairs[secret], face) for secret, hosts in names.items()]
            chains += self._chain_for_all(face)
            if chains:
                changed |= self._resources.put(
                    LISTENER, face, tls_listener(face, address, chains, self._access_log, self._settings)
                )
            else:
                changed |= self._resources.remove(LISTENER, face)
        for secret in self._pairs.keys() - held - set(self._for_all.values()):
            del self._pairs[secret]
        return changed

    def _chain_for_all(self, face: str) -> Iterable[Chain]:
        """What is shown to names without a certificate of their own; the last one that could be used."""
        secret = self._for_all.get(face)
        if secret is None:
            return
        if secret not in self._pairs:
            with contextlib.suppress(InvalidCertificate):  # `problems` tells of it
                self._pair(*secret)
        if secret in self._pairs:
            # Routes of the local face with TLS are those of Ingresses with certificates; this one is for the others.
            yield Chain((), *self._pairs[secret], INTERNAL if face == INTERNAL_TLS else face)


def key_pair(secret: Secret) -> Pair:
    """Certificate chain and private key of a Secret, as PEM. Raises `InvalidCertificate`."""
    where = f"Secret {secret.namespace}/{secret.name}"
    try:
        certificate, key = (base64.b64decode(secret.data[name], validate=True) for name in ("tls.crt", "tls.key"))
    except KeyError as error:
        raise InvalidCertificate(f"{where}: expected {error} beside its pair, got {sorted(secret.data)}") from error
    except binascii.Error as error:
        raise InvalidCertificate(f"{where}: not base64: {error}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL reads key pairs from files only; these two are in memory, and nowhere else.
    with _in_memory(certificate) as chain_path, _in_memory(key) as key_path:
        try:
            context.load_cert_chain(chain_path, key_path, password=b"")
        except (ssl.SSLError, ValueError) as error:
            raise InvalidCertificate(f"{where}: expected a certificate and its key as PEM: {error}") from error
    return certificate, key


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path under which `content` can be read while the context lasts."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
