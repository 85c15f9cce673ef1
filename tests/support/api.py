"""A real API server for tests: over HTTPS, on a free port, with one administrator's token."""

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from kube.config import ApiConfig
from local_cluster.apiserver.certificates import CertificateAuthority, write_kubeconfig
from local_cluster.apiserver.server import ApiServer, ApiServerConfig, Identity

__all__ = ["RunningApiServer", "running_api_server"]

_CA = CertificateAuthority.create()
"""One authority for all tests of a process."""


class RunningApiServer(NamedTuple):
    """A server that listens, and how to reach it."""

    server: ApiServer
    kubeconfig: Path
    """Of an administrator; valid while the server runs."""
    config: ApiConfig
    """The same for `kube.client.Client`."""


@asynccontextmanager
async def running_api_server(**options: Any) -> AsyncIterator[RunningApiServer]:
    """Start a server; `options` are fields of `ApiServerConfig`. Everything is gone at the end."""
    token = secrets.token_hex(16)
    tokens = {token: Identity("kubernetes-admin", ("system:masters",)), **options.pop("tokens", {})}
    server = ApiServer(ApiServerConfig(ca=_CA, tokens=tokens, **options))
    await server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="knuv-api-") as directory:
            kubeconfig = Path(directory) / "kubeconfig"
            write_kubeconfig(kubeconfig, server.url, _CA.certificate_pem, token)
            yield RunningApiServer(server, kubeconfig, ApiConfig.from_kubeconfig(kubeconfig))
    finally:
        await server.stop()
