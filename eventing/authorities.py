"""Whom to believe that it is the sink of a URL: the system's authorities, the cluster's, those of the sink itself.

Source: spec eventing-broker.md 3.3.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from proxies.tls import TlsSettings

__all__ = ["Authorities", "Verified"]

_CONTEXTS_MAX: Final = 256
_MOUNTED: Final = Path("/knative-custom-certs")


class Authorities:
    """Contexts for outgoing connections, by the certificates that a sink brings along."""

    def __init__(self, settings: TlsSettings | None = None, mounted: Path = _MOUNTED) -> None:
        """`mounted`: a directory whose files hold further authorities in PEM, if it exists."""
        self._settings = settings or TlsSettings()
        self._mounted = mounted
        self._bundles = ""
        self._contexts: dict[str, ssl.SSLContext] = {}

    def trust(self, bundles: str) -> None:
        """Trust these authorities (PEM, one behind the other) besides the system's, for connections from now on.

        Raises `ValueError`, and changes nothing, when they are none.
        """
        if bundles:
            _add(self._new_context(), bundles)
        self._bundles = bundles
        self._contexts.clear()

    def context(self, ca_certs: str) -> ssl.SSLContext:
        """Return the context for a sink with these authorities of its own (PEM; may be empty).

        Raises `ssl.SSLError`, an `OSError`, when they are none: the sink cannot be reached then.
        """
        context = self._contexts.get(ca_certs)
        if context is None:
            context = self._new_context()
            for each in (self._bundles, ca_certs):
                if each:
                    try:
                        _add(context, each)
                    except ValueError as error:
                        raise ssl.SSLError(f"CACerts of the sink: {error}") from error
            if len(self._contexts) >= _CONTEXTS_MAX:
                self._contexts.clear()
            self._contexts[ca_certs] = context
        return context

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = self._settings.least
        context.maximum_version = self._settings.most
        context.set_alpn_protocols(["http/1.1"])
        if self._mounted.is_dir():
            for path in sorted(self._mounted.iterdir()):
                if path.is_file():
                    _add(context, path.read_text("utf-8", "replace"))
        return context


class Verified:
    """How one host is spoken to (`upstream.Security`): it has to show a certificate for its name."""

    __slots__ = ("_authorities", "_ca_certs", "server_name")

    def __init__(self, authorities: Authorities, host: str, ca_certs: str) -> None:
        self._authorities = authorities
        self._ca_certs = ca_certs
        self.server_name = host

    @property
    def context(self) -> ssl.SSLContext:
        """For a connection that is opened now."""
        return self._authorities.context(self._ca_certs)

    def refusal(self, certificate: Mapping[str, Any]) -> str:
        """Nothing: the context has compared the name."""
        return ""


def _add(context: ssl.SSLContext, certificates: str) -> None:
    try:
        context.load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"expected certificates in PEM: {error}") from error
