"""TLS inside of the cluster: our own certificate, and whom of the pods to trust, as the system's objects say.

    Secret routing-serving-certs        tls.crt, tls.key   what our TLS port shows
                                        ca.crt             its first certificate signs those of pods
    ConfigMaps labelled as bundles      any key            further authorities

All of it is followed: what changes counts for handshakes from then on. What cannot be used changes nothing, and one
line says so.

Source: spec activator.md 11.
"""

import base64
import binascii
import re
import ssl
from collections.abc import Iterator
from typing import Final

from kube.client import Client
from kube.informer import Informer
from kube.models.core import ConfigMap, Secret
from proxies.environment import ConfigError
from proxies.logs import Logger
from proxies.tls import PodSecurity, TlsSettings, Trust, load_pair, server_context

__all__ = ["InternalTls"]

_SECRET: Final = "routing-serving-certs"  # noqa: S105 - its name
_BUNDLE_LABEL: Final = "networking.knative.dev/trust-bundle"
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


class InternalTls:
    """Follows the objects. `start` returns when it has seen them."""

    def __init__(self, client: Client, namespace: str, settings: TlsSettings, log: Logger) -> None:
        """`namespace`: the system's. `settings`: of our own port."""
        self._namespace = namespace
        self._settings = settings
        self._log = log
        self._secrets = Informer(
            client, Secret, namespace=namespace, field_selector=f"metadata.name={_SECRET}", log=log
        )
        self._bundles = Informer(client, ConfigMap, namespace=namespace, label_selector=_BUNDLE_LABEL, log=log)
        self._trust: Trust
        self.context: ssl.SSLContext
        """Of our TLS port; after `start`."""

    async def start(self) -> None:
        """Read everything, then follow it. Raises `ConfigError` when there is nothing to serve or to trust with."""
        await self._secrets.start()
        await self._bundles.start()
        secret = self._secret()
        if secret is None:
            raise ConfigError([f"Secret {self._namespace}/{_SECRET} does not exist, and system-internal-tls needs it"])
        try:
            self._trust = Trust(self._authorities(secret))
            self.context = server_context(self._settings, *_pair_of(secret))
        except ValueError as error:
            raise ConfigError([f"Secret {self._namespace}/{_SECRET}: {error}"]) from error
        self._secrets.on_change(lambda *_: self._changed())
        self._bundles.on_change(lambda *_: self._changed())

    async def stop(self) -> None:
        """Follow nothing any more."""
        await self._secrets.stop()
        await self._bundles.stop()

    def security(self, namespace: str) -> PodSecurity:
        """Return how the pods of a namespace are spoken to."""
        return PodSecurity(self._trust, namespace)

    def _secret(self) -> Secret | None:
        return next(iter(self._secrets.list()), None)

    def _changed(self) -> None:
        secret = self._secret()
        if secret is None:
            self._log.warning("certificate_kept", problem=f"Secret {self._namespace}/{_SECRET} was deleted")
            return
        try:
            self._trust.renew(self._authorities(secret))
            load_pair(self.context, *_pair_of(secret))
        except ValueError as error:
            self._log.error("certificate_kept", problem=str(error), secret=f"{self._namespace}/{_SECRET}")

    def _authorities(self, secret: Secret) -> str:
        """Return all certificates of authorities. Raises `ValueError` when the Secret's is none."""
        own = _CERTIFICATE.search(_decoded(secret, "ca.crt").decode("latin-1"))
        if own is None:
            raise ValueError("ca.crt: expected a certificate in PEM")
        return "\n".join([own[0], *self._bundled()])

    def _bundled(self) -> Iterator[str]:
        """Yield the certificates of the bundles; a value without any good one is passed over."""
        for bundle in self._bundles.list():
            for name, text in bundle.data.items():
                certificates = "\n".join(_CERTIFICATE.findall(text))
                try:
                    Trust(certificates)
                except ValueError as error:
                    self._log.warning(
                        "trust_bundle_ignored",
                        config_map=f"{self._namespace}/{bundle.metadata.name}",
                        key=name,
                        problem=str(error),
                    )
                else:
                    yield certificates


def _pair_of(secret: Secret) -> tuple[bytes, bytes]:
    return _decoded(secret, "tls.crt"), _decoded(secret, "tls.key")


def _decoded(secret: Secret, key: str) -> bytes:
    try:
        return base64.b64decode(secret.data.get(key, ""), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{key}: expected base64: {error}") from error
