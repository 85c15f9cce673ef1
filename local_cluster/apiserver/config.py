"""What one API server is told at start."""

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from local_cluster.apiserver.certificates import CertificateAuthority
from local_cluster.apiserver.feeds import WATCHER_QUEUE_MAX
from local_cluster.apiserver.objects import Identity
from local_cluster.apiserver.store import HISTORY_MAX
from local_cluster.apiserver.watching import BOOKMARK_INTERVAL_S

__all__ = ["SERVICE_CIDR", "ApiServerConfig"]

BODY_BYTES_MAX = 3 << 20
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
SERVICE_CIDR: IpNetwork = ipaddress.ip_network("10.96.0.0/16")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerConfig:
    """What one server is told at start."""

    ca: CertificateAuthority
    """Signs the server's certificate; clients are given its own."""
    tokens: Mapping[str, Identity] = field(default_factory=dict)
    """Bearer tokens and whom each stands for; `ApiServer.add_token` adds more."""
    token_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Proves the tokens of service accounts; with the same key a server knows its predecessor's."""
    host: str = "127.0.0.1"
    """Address to listen on, and the one that the certificate names."""
    port: int = 0
    """0: any free port; read it from `ApiServer.port`."""
    service_cidr: IpNetwork = SERVICE_CIDR
    """Where ClusterIPs come from."""
    cluster_domain: str = "cluster.local"
    dns_names: tuple[str, ...] = ()
    """Further names for the certificate."""
    history_max: int = HISTORY_MAX
    """Changes kept per kind; watches from before them are answered 410."""
    watcher_queue_max: int = WATCHER_QUEUE_MAX
    """Events that a watch may lag behind before it is closed."""
    body_bytes_max: int = BODY_BYTES_MAX
    bookmark_interval_s: float = BOOKMARK_INTERVAL_S
    state_file: Path | None = None
    """Where the state is kept over restarts, a SQLite file that one server uses at a time; None: in memory alone."""
    first_version: int | None = None
    """The resourceVersion to count from; None: the clock in microseconds, so that versions grow across restarts."""
