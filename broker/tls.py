"""The certificate of a broker's process, as Secret `<process>-server-tls` of the system namespace says.

The TLS port is opened when there is one, and shows each new one. What cannot be used changes nothing, and one line says
so. Source: spec eventing-broker.md 2.2.
"""

import base64
import binascii
import ssl
from collections.abc import Callable

from kube.models.core import Secret
from proxies.logs import Logger
from proxies.tls import TlsSettings, load_pair, server_context

__all__ = ["ServerCertificate"]


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


def _name(secret: Secret | None) -> str:
    return "" if secret is None else f"{secret.namespace}/{secret.name}"


def _decoded(secret: Secret, key: str) -> bytes:
    try:
        return base64.b64decode(secret.data.get(key, ""), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{key}: expected base64: {error}") from error
