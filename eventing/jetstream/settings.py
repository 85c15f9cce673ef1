"""How NATS is reached: ConfigMap `config-nats` and the Secrets that it names.

The key `eventing-nats` holds YAML: `url`, `auth.credentialFile.secret`, `auth.tls.secret`, `tls.caBundle` or
`tls.secret`, `connOpts.reconnectWait` (milliseconds). `auth.basic.secret` is ours: a Secret with `username` and
`password`, so that neither stands in a ConfigMap. `connOpts.maxReconnects` is read and not followed: who gives up for
good keeps accepting nothing for good.

Source: spec eventing-channels.md 9.2; knative-extensions/eventing-natss `pkg/common/config`.
"""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

__all__ = ["CONFIG_MAP", "NatsSettings", "NatsSettingsError", "SecretNames", "read_settings"]

CONFIG_MAP: Final = "config-nats"
KEY: Final = "eventing-nats"
DEFAULT_URL: Final = "nats://nats.nats-io.svc.cluster.local"
_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_RECONNECT_WAIT_MS: Final = 500.0
Secrets = Mapping[str, Mapping[str, bytes]]
"""Name of a Secret -> its decoded data."""


class NatsSettingsError(ValueError):
    """`config-nats` or a Secret that it names cannot be used; says which key, what came and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    """What a connection needs. Whatever is secret stays out of `repr`."""

    servers: tuple[str, ...] = (DEFAULT_URL,)
    user: str = ""
    password: str = field(default="", repr=False)
    credentials: str = field(default="", repr=False)
    """Text of a credentials file: a JWT and its seed."""
    tls: ssl.SSLContext | None = None
    """None: the system's authorities, where the URL asks for TLS."""
    reconnect_wait_s: float = _RECONNECT_WAIT_MS / 1000


@dataclass(frozen=True, slots=True)
class SecretNames:
    """The Secrets that a configuration names; empty: none."""

    credentials: str = ""
    credentials_key: str = "nats.creds"
    client_certificate: str = ""
    authority: str = ""
    basic: str = ""

    @property
    def all(self) -> list[str]:
        """Return those that have to be read."""
        return [name for name in (self.credentials, self.client_certificate, self.authority, self.basic) if name]


def secret_names(data: Mapping[str, str]) -> SecretNames:
    """Return which Secrets the ConfigMap's `data` names. Raises `NatsSettingsError`."""
    content = _content(data)
    auth = _section(content, "auth")
    credentials = _section(_section(auth, "credentialFile"), "secret")
    return SecretNames(
        _text(credentials, "name"),
        _text(credentials, "key") or "nats.creds",
        _text(_section(_section(auth, "tls"), "secret"), "name"),
        _text(_section(_section(content, "tls"), "secret"), "name"),
        _text(_section(_section(auth, "basic"), "secret"), "name"),
    )


def read_settings(data: Mapping[str, str], secrets: Secrets) -> NatsSettings:
    """Return the settings of the ConfigMap's `data`. Raises `NatsSettingsError`."""
    content = _content(data)
    names = secret_names(data)
    servers = tuple(_server(part.strip()) for part in (_text(content, "url") or DEFAULT_URL).split(","))
    user = password = credentials = ""
    if names.basic:
        user = _secret(secrets, names.basic, "username").decode()
        password = _secret(secrets, names.basic, "password").decode()
    if names.credentials:
        credentials = _secret(secrets, names.credentials, names.credentials_key).decode()
    return NatsSettings(
        servers=servers,
        user=user,
        password=password,
        credentials=credentials,
        tls=_tls(_authority(content, names, secrets), names, secrets),
        reconnect_wait_s=_wait_s(_section(content, "connOpts")),
    )


def _content(data: Mapping[str, str]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(data.get(KEY, "")) or {}
    except yaml.YAMLError as error:
        raise NatsSettingsError(f"{CONFIG_MAP}: {KEY}: expected YAML: {error}") from error
    if not isinstance(content, dict):
        raise NatsSettingsError(f"{CONFIG_MAP}: {KEY}: expected a mapping, got {type(content).__name__}")
    return content


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = content.get(name) or {}
    if not isinstance(section, dict):
        raise NatsSettingsError(f"{CONFIG_MAP}: {name}: expected a mapping, got {type(section).__name__}")
    return section


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name) or ""
    if not isinstance(value, str):
        raise NatsSettingsError(f"{CONFIG_MAP}: {name}: expected text, got {type(value).__name__}")
    return value


def _server(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise NatsSettingsError(f"{CONFIG_MAP}: url: expected nats://host:port, got {parts.scheme}://{parts.hostname}")
    return url


def _wait_s(options: Mapping[str, Any]) -> float:
    wait_ms = options.get("reconnectWait", _RECONNECT_WAIT_MS)
    if isinstance(wait_ms, bool) or not isinstance(wait_ms, int | float) or not 0 < wait_ms <= 60_000:
        raise NatsSettingsError(f"{CONFIG_MAP}: connOpts.reconnectWait: expected milliseconds, got {wait_ms!r}")
    return float(wait_ms) / 1000


def _secret(secrets: Secrets, name: str, key: str) -> bytes:
    if name not in secrets:
        raise NatsSettingsError(f"{CONFIG_MAP}: the Secret {name} does not exist")
    if key not in secrets[name]:
        raise NatsSettingsError(f"{CONFIG_MAP}: the Secret {name} has no key {key}")
    return secrets[name][key]


def _authority(content: Mapping[str, Any], names: SecretNames, secrets: Secrets) -> str:
    bundle = _text(_section(content, "tls"), "caBundle")
    if bundle:
        try:
            return base64.b64decode(bundle, validate=True).decode("ascii")
        except (binascii.Error, ValueError) as error:
            raise NatsSettingsError(f"{CONFIG_MAP}: tls.caBundle: expected PEM in base64: {error}") from error
    return _secret(secrets, names.authority, "ca.crt").decode("latin-1") if names.authority else ""


def _tls(authority: str, names: SecretNames, secrets: Secrets) -> ssl.SSLContext | None:
    if not authority and not names.client_certificate:
        return None
    try:
        context = ssl.create_default_context(cadata=authority or None)
        if names.client_certificate:
            name = names.client_certificate
            _load_pair(context, _secret(secrets, name, "tls.crt"), _secret(secrets, name, "tls.key"))
    except (ssl.SSLError, ValueError) as error:
        raise NatsSettingsError(f"{CONFIG_MAP}: its certificates cannot be used: {error}") from error
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # OpenSSL reads a pair from files only; this one is ours alone and lives as long as the reading.
    with tempfile.NamedTemporaryFile(prefix="knuv-nats-") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)
