"""Where the API is and who we are: a kubeconfig file, or the files that Kubernetes mounts into every pod."""

import base64
import binascii
import contextlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proxies.environment import ConfigError, Environment

__all__ = ["ApiConfig"]

_OTHER_CREDENTIALS = (
    "client-certificate",
    "client-key",
    "client-certificate-data",
    "client-key-data",
    "exec",
    "auth-provider",
    "username",
    "password",
)
_OTHER_WAYS = ("insecure-skip-tls-verify", "proxy-url", "tls-server-name")
"""To a server, which we do not go."""
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """One API server and one identity."""

    server: str
    """Base URL, without a trailing slash."""
    ca_pem: str = ""
    """Certificates that the server's is checked against; empty means the system's."""
    token: str = field(default="", repr=False)
    """Bearer token; empty when `token_file` or a client certificate is used."""
    token_file: Path | None = None
    """Read anew every minute: Kubernetes rotates projected tokens."""
    client_certificate: tuple[str, str] | None = None
    """Paths of a certificate and its key."""
    client_pem: tuple[str, str] | None = field(default=None, repr=False)
    """The same where they stand in the kubeconfig itself, in PEM."""
    namespace: str = "default"
    """Namespace of the context, for the command line."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "ApiConfig":
        """`KUBECONFIG` when set, else the in-cluster files. Raises `ConfigError` naming the variable or file."""
        path = environ.get("KUBECONFIG")
        if path:
            return cls.from_kubeconfig(Path(path))
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise ConfigError(
                ["KUBECONFIG is not set and KUBERNETES_SERVICE_HOST neither: no Kubernetes API to talk to"]
            )
        token_file, ca_file = _SERVICE_ACCOUNT / "token", _SERVICE_ACCOUNT / "ca.crt"
        try:
            ca_pem = ca_file.read_text()
        except OSError as error:
            raise ConfigError([f"{ca_file}: {error.strerror}: the service account is not mounted"]) from error
        host = f"[{host}]" if ":" in host else host
        return cls(server=f"https://{host}:{port}", ca_pem=ca_pem, token_file=token_file)

    @classmethod
    def read(cls, reading: Environment, environ: Mapping[str, str]) -> "ApiConfig":
        """As `from_env`, for a `config.py`: problems join those of `reading`, which raises them all together."""
        try:
            return cls.from_env(environ)
        except ConfigError as error:
            for problem in error.problems:
                reading.refuse(problem)
            return cls(server="")

    @classmethod
    def from_kubeconfig(cls, path: Path) -> "ApiConfig":
        """The current context of a kubeconfig. Raises `ConfigError` naming the file and what is missing."""
        try:
            data = _parsed(path.read_text())
        except OSError as error:
            raise ConfigError([f"KUBECONFIG={path}: {error.strerror}"]) from error
        except ValueError as error:
            raise ConfigError([f"KUBECONFIG={path}: not YAML: {error}"]) from error
        if not isinstance(data, dict):
            raise ConfigError([f"KUBECONFIG={path}: expected a mapping"])
        context = _named(data, "contexts", "context", data.get("current-context"), path)
        cluster = _named(data, "clusters", "cluster", context.get("cluster"), path)
        user = _named(data, "users", "user", context.get("user"), path)
        ca_pem = _inline(cluster, "certificate-authority-data", path)
        if not ca_pem and cluster.get("certificate-authority"):
            ca_file = path.parent / str(cluster["certificate-authority"])
            try:
                ca_pem = ca_file.read_text()
            except OSError as error:
                raise ConfigError([f"KUBECONFIG={path}: {ca_file}: {error.strerror}"]) from error
        ways = [name for name in _OTHER_WAYS if cluster.get(name)]
        if ways:
            raise ConfigError(
                [f"KUBECONFIG={path}: expected a cluster without {', '.join(ways)}, which is not supported"]
            )
        certificate = None
        pem = (_inline(user, "client-certificate-data", path), _inline(user, "client-key-data", path))
        # As kubectl does: what stands in the file itself counts.
        if not all(pem) and user.get("client-certificate") and user.get("client-key"):
            certificate = (str(path.parent / user["client-certificate"]), str(path.parent / user["client-key"]))
        token_file = user.get("tokenFile")
        others = [name for name in _OTHER_CREDENTIALS if user.get(name)]
        if others and not (certificate or all(pem) or token_file or user.get("token")):
            # Without a word we would be nobody, and refused everything.
            wanted = "token, tokenFile, or client-certificate and client-key (with -data or as files)"
            raise ConfigError([f"KUBECONFIG={path}: expected {wanted} of the user, got {', '.join(others)}"])
        return cls(
            server=_server(str(cluster.get("server") or ""), path),
            ca_pem=ca_pem,
            token=str(user.get("token") or ""),
            token_file=path.parent / str(token_file) if token_file else None,
            client_certificate=certificate,
            client_pem=pem if all(pem) else None,
            namespace=str(context.get("namespace") or "default"),
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """A verifying TLS context for an https server, else None. Raises `ConfigError` for what are no certificates."""
        if not self.server.startswith("https://"):
            return None
        authority = self.ca_pem.encode("ascii", "replace").decode()  # comments may have any letters
        try:
            context = ssl.create_default_context(cadata=authority or None)
        except ssl.SSLError as error:
            raise ConfigError([f"{self.server}: its authority: expected certificates in PEM: {error}"]) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # managed control planes still end at 1.2
        if self.client_certificate is not None:
            try:
                context.load_cert_chain(*self.client_certificate)
            except OSError as error:
                files = " and ".join(self.client_certificate)
                raise ConfigError([f"{files}: expected a certificate and its key in PEM: {error}"]) from error
        if self.client_pem is not None:
            from proxies.tls import load_pair  # only people have these

            certificate, key = self.client_pem
            try:
                load_pair(context, certificate.encode(), key.encode())
            except ValueError as error:
                raise ConfigError([f"KUBECONFIG: client-certificate-data and client-key-data: {error}"]) from error
        return context


def _parsed(text: str) -> object:
    """YAML's content. Raises `ValueError`."""
    with contextlib.suppress(ValueError):
        return json.loads(text)  # JSON is YAML, too; the local stack writes it
    import yaml  # 0.7 MB and 15 ms, which nobody needs inside a cluster

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _server(url: str, path: Path) -> str:
    """`url` without a trailing slash. Anything but HTTPS and HTTP is refused: our token would go there as it is."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc:
            return url.rstrip("/")
    shown = url.rpartition("@")[2]  # without a password
    raise ConfigError([f"KUBECONFIG={path}: expected a server as https://HOST[:PORT], without a user, got {shown!r}"])


def _named(data: dict[str, Any], section: str, key: str, name: object, path: Path) -> dict[str, Any]:
    for entry in data.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(key), dict):
            found: dict[str, Any] = entry[key]
            return found
    raise ConfigError([f"KUBECONFIG={path}: no entry named {name!r} in {section}"])


def _inline(section: dict[str, Any], name: str, path: Path) -> str:
    try:
        return base64.b64decode(str(section.get(name) or ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigError([f"KUBECONFIG={path}: {name} is not base64 of PEM text"]) from error
