"""Certificates of a broker's process, as the system namespace's objects say: what our TLS port shows, whom we believe.

    Secret <process>-server-tls         tls.crt, tls.key   the port is opened when it is there, and shows each new pair
    ConfigMaps labelled as bundles      any key            authorities that sinks' certificates may be signed by

What cannot be used changes nothing, and one line says so. Source: spec eventing-broker.md 2.2, 3.3.
"""

import base64
import binascii
import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from eventing.authorities import Authorities
from kube.models.core import ConfigMap, Secret
from proxies.logs import Logger
from proxies.tls import TlsSettings, Trust, load_pair, server_context

__all__ = ["Bundles", "ServerCertificate"]

_BUNDLE_LABEL: Final = "networking.knative.dev/trust-bundle"
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


class ServerCertificate:
    """What our TLS port shows."""

    def __init__(self, settings: TlsSettings, log: Logger, appeared: Callable[[ssl.SSLContext], None]) -> None:
        """`appeared`: told once of the context, when there is a pair that can be used."""
        self._settings = settings
        self._log = log
        self._appeared = appeared
        self._context: ssl.SSLContext | None = None

    def take(self, old: Secret | None, new: Secret | None) -> None:
        """The Secret appeared, changed or went."""
        if new is None:
            self._log.warning("certificate_kept", problem="its Secret was deleted", secret=_name(old))
            return
        try:
            pair = _decoded(new, "tls.crt"), _decoded(new, "tls.key")
            if self._context is None:
                self._context = server_context(self._settings, *pair)
                self._appeared(self._context)
            else:
                load_pair(self._context, *pair)
        except ValueError as error:
            self._log.error("certificate_unusable", problem=str(error), secret=_name(new))


class Bundles:
    """Further authorities."""

    def __init__(self, authorities: Authorities, log: Logger) -> None:
        self._authorities = authorities
        self._log = log

    def take(self, config_maps: Iterable[ConfigMap]) -> None:
        """These are all ConfigMaps of the namespace."""
        self._authorities.trust("\n".join(self._certificates(config_maps)))

    @staticmethod
    def is_one(config_map: ConfigMap) -> bool:
        """Whether it holds authorities."""
        return config_map.metadata.labels.get(_BUNDLE_LABEL, "").lower() == "true"

    def _certificates(self, config_maps: Iterable[ConfigMap]) -> Iterator[str]:
        """Yield those that are good; a value without any is passed over."""
        for bundle in config_maps:
            if not self.is_one(bundle):
                continue
            for key, text in sorted(bundle.data.items()):
                certificates = "\n".join(_CERTIFICATE.findall(text))
                try:
                    Trust(certificates)
                except ValueError as error:
                    self._log.warning("trust_bundle_ignored", config_map=bundle.name, key=key, problem=str(error))
                else:
                    yield certificates


def _name(secret: Secret | None) -> str:
    return "" if secret is None else f"{secret.namespace}/{secret.name}"


def _decoded(secret: Secret, key: str) -> bytes:
    try:
        return base64.b64decode(secret.data.get(key, ""), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{key}: expected base64: {error}") from error
