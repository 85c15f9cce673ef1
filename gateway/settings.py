"""The ConfigMap `config-kourier`: how Envoy's faces behave, in the names that Kourier's operators know.

Keys that nobody reads here are passed over, but for external authorization: requests must not go on unchecked because a
gateway does not know of it. Source: net-kourier `pkg/reconciler/ingress/config`; spec ingress.md 5.8.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from proxies import gotext

__all__ = ["CONFIG_MAP", "GatewaySettings", "InvalidSettings"]

T = TypeVar("T")

CONFIG_MAP = "config-kourier"
_CIPHER = re.compile(r"[A-Z0-9][A-Za-z0-9_-]*\Z")
_EXTAUTHZ_PROTOCOLS = ("grpc", "http", "https")


class InvalidSettings(ValueError):
    """The map cannot be used; the text names the key and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What the map says."""

    writes_access_log: bool = True
    """`enable-service-access-logging`; where to, the gateway's own configuration says."""
    expects_proxy_protocol: bool = False
    """A load balancer in front says who the client is, on the external faces and on the local one with TLS.
    `enable-proxy-protocol`."""
    stream_idle_s: float = 0.0
    """How long a stream may be silent; 0: for ever. `stream-idle-timeout`."""
    trusted_hops: int = 0
    """Proxies in front whose `X-Forwarded-For` is believed. `trusted-hops-count`."""
    uses_remote_address: bool = True
    """Whether the client's own address is added to `X-Forwarded-For`. `use-remote-address`; with PROXY protocol
    always."""
    cipher_suites: tuple[str, ...] = ()
    """Of TLS 1.2; none: Envoy's. `cipher-suites`."""
    passes_server_header: bool = False
    """Whether `Server` is the app's own. `disable-envoy-server-header`."""

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> "GatewaySettings":
        """Read the map. Raises `InvalidSettings`."""
        _check_unsupported(data)
        idle_s = _parsed(data, "stream-idle-timeout", gotext.parse_duration_s, 0.0, "a duration such as 30s")
        hops = _parsed(data, "trusted-hops-count", lambda text: gotext.parse_int(text, bits=32), 0, "a number")
        if idle_s < 0 or hops < 0:
            raise InvalidSettings("stream-idle-timeout and trusted-hops-count: expected nothing below zero")
        ciphers = tuple(part.strip() for part in data.get("cipher-suites", "").split(",") if part.strip())
        for cipher in ciphers:
            if not _CIPHER.match(cipher):
                raise InvalidSettings(f"cipher-suites: expected names of suites, got {cipher!r}")
        has_proxy_protocol = _flag(data, "enable-proxy-protocol", False)
        return cls(
            writes_access_log=_flag(data, "enable-service-access-logging", True),
            expects_proxy_protocol=has_proxy_protocol,
            stream_idle_s=idle_s,
            trusted_hops=hops,
            uses_remote_address=has_proxy_protocol or _flag(data, "use-remote-address", True),
            cipher_suites=ciphers,
            passes_server_header=_flag(data, "disable-envoy-server-header", False),
        )


def _check_unsupported(data: Mapping[str, str]) -> None:
    """What is malformed is told even where it would have no effect; what must not be without effect is refused."""
    if data.get("extauthz-host"):
        protocol = data.get("extauthz-protocol", "")
        if protocol not in _EXTAUTHZ_PROTOCOLS:
            raise InvalidSettings(
                f"extauthz-protocol: expected one of {', '.join(_EXTAUTHZ_PROTOCOLS)}, got {protocol!r}"
            )
        raise InvalidSettings("extauthz-host: external authorization is not there yet; take the key out to go without")
    for text in filter(None, map(str.strip, data.get("listen-ip-addresses", "").split(","))):
        try:
            ipaddress.ip_address(text)
        except ValueError as error:
            raise InvalidSettings(f"listen-ip-addresses: expected IP addresses, got {text!r}") from error
    endpoint = data.get("tracing-endpoint", "")
    if endpoint:
        try:
            port = urlsplit(endpoint).port
        except ValueError:
            port = None
        if port is None:
            raise InvalidSettings(f"tracing-endpoint: expected a URL with a port, got {endpoint!r}")


def _flag(data: Mapping[str, str], key: str, default: bool) -> bool:
    return _parsed(data, key, gotext.parse_bool, default, "true or false")


def _parsed(data: Mapping[str, str], key: str, parse: Callable[[str], T], default: T, expected: str) -> T:
    text = data.get(key, "")
    try:
        return parse(text) if text else default
    except ValueError as error:
        raise InvalidSettings(f"{key}: expected {expected}, got {text!r}") from error
