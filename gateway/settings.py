"""The ConfigMap `config-kourier`: how Envoy's faces behave, in the names that Kourier's operators know.

Keys that nobody reads here are passed over. Source: net-kourier `pkg/reconciler/ingress/config`; spec ingress.md 5.8.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from gateway.services import Authorization, Tracing
from kube.addresses import Address
from proxies import gotext

__all__ = ["CONFIG_MAP", "GatewaySettings", "InvalidSettings"]

T = TypeVar("T")

CONFIG_MAP = "config-kourier"
_CIPHER = re.compile(r"[A-Z0-9][A-Za-z0-9_-]*\Z")
_AUTHORIZATION_PROTOCOLS = ("grpc", "http", "https")
_TRACING_PROTOCOLS = ("grpc", "http/protobuf")


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
    access_log_template: str = ""
    """Lines of the access log as Envoy's format says, instead of JSON. `service-access-log-template`."""
    listen_hosts: tuple[str, ...] = ()
    """Addresses of faces that are told to be on all of them. `listen-ip-addresses`."""
    authorization: Authorization | None = None
    """Who decides about each request. `extauthz-*`."""
    tracing: Tracing | None = None
    """Who is told of each request. `tracing-*`."""

    certificate: tuple[str, str] | None = None
    """Namespace and name of the Secret that the external face shows to names without a certificate of their own, so
    that all public hosts are served with TLS. `certs-secret-namespace`, `certs-secret-name`."""
    local_certificate: str = ""
    """Likewise, in the system's namespace, for the cluster-local face. `cluster-cert-secret`."""

    @classmethod
    def from_data(cls, data: Mapping[str, str], certificate: tuple[str, str] = ("", "")) -> "GatewaySettings":
        """Read the map. Raises `InvalidSettings`.

        `certificate`: namespace and name of the Secret where the map says neither.
        """
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
            access_log_template=data.get("service-access-log-template", ""),
            listen_hosts=_listen_hosts(data),
            authorization=_authorization(data),
            tracing=_tracing(data),
            certificate=_certificate(data, certificate),
            local_certificate=data.get("cluster-cert-secret", ""),
        )


def _certificate(data: Mapping[str, str], otherwise: tuple[str, str]) -> tuple[str, str] | None:
    namespace = data.get("certs-secret-namespace", "") or otherwise[0]
    name = data.get("certs-secret-name", "") or otherwise[1]
    if bool(namespace) != bool(name):
        raise InvalidSettings(f"certs-secret-namespace {namespace!r} and certs-secret-name {name!r}: expected both")
    return (namespace, name) if name else None


def _authorization(data: Mapping[str, str]) -> Authorization | None:
    text = data.get("extauthz-host", "")
    if not text:
        return None
    try:
        address = Address.parse(text)
    except ValueError:
        address = None
    if address is None or address.is_everywhere:
        raise InvalidSettings(f"extauthz-host: expected host:port, got {text!r}")
    protocol = data.get("extauthz-protocol", "")
    if protocol not in _AUTHORIZATION_PROTOCOLS:
        raise InvalidSettings(
            f"extauthz-protocol: expected one of {', '.join(_AUTHORIZATION_PROTOCOLS)}, got {protocol!r}"
        )
    body_bytes = _parsed(data, "extauthz-max-request-body-bytes", _natural, 8192, "a number of bytes above zero")
    timeout_ms = _parsed(data, "extauthz-timeout", _natural, 2000, "milliseconds above zero")
    packs = _flag(data, "extauthz-pack-as-bytes", False)
    if packs and protocol != "grpc":
        raise InvalidSettings(f"extauthz-pack-as-bytes: only with extauthz-protocol grpc, not {protocol}")
    return Authorization(
        host=address.host,
        port=address.port,
        protocol=protocol,
        lets_pass_when_away=_flag(data, "extauthz-failure-mode-allow", False),
        body_bytes_max=body_bytes,
        timeout_s=timeout_ms / 1000,
        path_prefix=data.get("extauthz-path-prefix", ""),
        packs_as_bytes=packs,
    )


def _tracing(data: Mapping[str, str]) -> Tracing | None:
    endpoint = data.get("tracing-endpoint", "")
    if not endpoint:
        return None
    # Where there is no scheme, what is before the colon is the host and not one.
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if port is None or not parts.hostname:
        raise InvalidSettings(f"tracing-endpoint: expected a URL with a port, got {endpoint!r}")
    protocol = data.get("tracing-protocol", "") or "grpc"
    if protocol not in _TRACING_PROTOCOLS:
        raise InvalidSettings(f"tracing-protocol: expected one of {', '.join(_TRACING_PROTOCOLS)}, got {protocol!r}")
    ratio = _parsed(data, "tracing-sampling-rate", float, 1.0, "a number from 0 to 1")
    if not 0 <= ratio <= 1:
        raise InvalidSettings(f"tracing-sampling-rate: expected a number from 0 to 1, got {ratio:g}")
    return Tracing(
        host=parts.hostname,
        port=port,
        protocol=protocol,
        url=endpoint,
        sampling_ratio=ratio,
        service_name=data.get("tracing-service-name", "") or "kourier-knative",
    )


def _listen_hosts(data: Mapping[str, str]) -> tuple[str, ...]:
    found = tuple(filter(None, map(str.strip, data.get("listen-ip-addresses", "").split(","))))
    for text in found:
        try:
            ipaddress.ip_address(text)
        except ValueError as error:
            raise InvalidSettings(f"listen-ip-addresses: expected IP addresses, got {text!r}") from error
    return found


def _natural(text: str) -> int:
    number: int = gotext.parse_int(text, bits=32)
    if number <= 0:
        raise ValueError(text)
    return number


def _flag(data: Mapping[str, str], key: str, default: bool) -> bool:
    return _parsed(data, key, gotext.parse_bool, default, "true or false")


def _parsed(data: Mapping[str, str], key: str, parse: Callable[[str], T], default: T, expected: str) -> T:
    text = data.get(key, "")
    try:
        return parse(text) if text else default
    except ValueError as error:
        raise InvalidSettings(f"{key}: expected {expected}, got {text!r}") from error
