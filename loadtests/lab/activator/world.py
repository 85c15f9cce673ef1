"""An API server with revisions in it, activators that follow it, and the rival.

The activators are `python -m activator`, told where everything is by their environment, as everywhere.
"""

import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from kube.client import Client
from kube.config import ApiConfig
from kube.errors import AlreadyExists
from kube.models.core import ConfigMap, EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Namespace
from kube.models.meta import ObjectMeta
from kube.models.serving import Revision
from loadtests.lab.queue_proxy.machine import Cores, Process, pinned
from loadtests.lab.queue_proxy.subjects import HOST, PORT, ROOT, LabError, Setting, Subject, accepts
from local_cluster.apiserver.certificates import CertificateAuthority, write_kubeconfig
from local_cluster.apiserver.server import ApiServer, ApiServerConfig, Identity

__all__ = ["NAMESPACE", "Address", "World", "nginx_of", "request_to", "running_world"]

NAMESPACE: Final = "default"
SYSTEM: Final = "knative-serving"
_START_S: Final = 30.0
_HEAD: Final = (
    "Host: lab.default.example.com\r\nUser-Agent: lab/1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n"
    "X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: http\r\n"
    "X-Request-Id: 5f0c2c9e-8c5f-4f6e-9a36-0f6c0c1f7a11\r\n"
)
_NGINX: Final = """
daemon off; worker_processes 1; pid {scratch}/nginx.pid; error_log stderr crit; worker_rlimit_nofile 16384;
events {{ worker_connections 16000; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 0;
  client_body_temp_path {scratch}/nginx-body; proxy_temp_path {scratch}/nginx-proxy;
  fastcgi_temp_path {scratch}/nginx-fastcgi; uwsgi_temp_path {scratch}/nginx-uwsgi; scgi_temp_path {scratch}/nginx-scgi;
  upstream app {{ {servers} keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen {host}:{port} backlog=4096;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""
Address = tuple[str, int]
"""Host and port of a pod."""


def request_to(revision: str) -> bytes:
    """A GET as a gateway sends it to an activator."""
    named = f"Knative-Serving-Namespace: {NAMESPACE}\r\nKnative-Serving-Revision: {revision}\r\n"
    return f"GET /hello?name=lab HTTP/1.1\r\n{_HEAD}{named}\r\n".encode()


def nginx_of(addresses: Sequence[Address]) -> Subject:
    """nginx's `proxy_pass` to an upstream of these, kept alive. Raises `LabError` when it is not installed."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise LabError("nginx is not installed; it is the rival (Debian: apt-get install nginx-light)")
    servers = " ".join(f"server {host}:{port};" for host, port in addresses)

    def command(scratch: Path, _app_port: int, setting: Setting) -> list[str]:
        config = scratch / "nginx.conf"
        config.write_text(_NGINX.format(scratch=scratch, servers=servers, host=setting.host, port=PORT))
        return [binary, "-p", str(scratch), "-c", str(config)]

    return Subject("nginx", command)


class World:
    """An API server and its objects."""

    def __init__(self, client: Client, kubeconfig: Path, scratch: Path, cores: Cores) -> None:
        self.client = client
        self._kubeconfig = kubeconfig
        self._scratch = scratch
        self._cores = cores

    async def revision(
        self,
        name: str,
        *,
        concurrency: int = 0,
        ready: Sequence[Address] = (),
        not_ready: Sequence[Address] = (),
        activators: Sequence[str] = (HOST,),
    ) -> None:
        """A revision with these pods, served by these activators."""
        container = {"name": "user-container", "image": "dev.local/app", "ports": [{"containerPort": 8080}]}
        spec = {"containerConcurrency": concurrency, "timeoutSeconds": 300, "containers": [container]}
        await self.client.create(Revision(metadata=ObjectMeta(name=name, namespace=NAMESPACE), spec=spec))
        await self._endpoints(name, name, "Public", [_subset([(address, PORT)]) for address in activators])
        await self.pods(name, ready=ready, not_ready=not_ready)

    async def pods(self, name: str, *, ready: Sequence[Address] = (), not_ready: Sequence[Address] = ()) -> None:
        """The revision's pods are these from now on."""
        subsets = [_subset([each]) for each in ready] + [_subset([], [each]) for each in not_ready]
        await self._endpoints(f"{name}-private", name, "Private", subsets)

    @asynccontextmanager
    async def activator(self, host: str = HOST) -> AsyncIterator[Process]:
        """Run an activator on its core. Raises `LabError`, with what it said, when it does not listen."""
        if accepts(host):
            raise LabError(f"something listens on {host}:{PORT} already; end it first")
        log = self._scratch / f"activator-{host}.log"
        with log.open("wb") as output, pinned(self._cores.proxy):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "activator", env=self._environ(host), stdout=output, stderr=output
            )
        try:
            async with asyncio.timeout(_START_S):
                while not accepts(host):
                    if process.returncode is not None:
                        raise LabError(f"the activator ended; it said: {log.read_text()[-500:]}")
                    await asyncio.sleep(0.01)
            yield Process(process.pid)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _environ(self, host: str) -> dict[str, str]:
        return {
            "PATH": os.defpath,
            "PYTHONPATH": str(ROOT),
            "KUBECONFIG": str(self._kubeconfig),
            "SYSTEM_NAMESPACE": SYSTEM,
            "POD_NAME": f"activator-{host}",
            "POD_IP": host,
            "KNUV_BIND_ADDRESS": host,
            "KNUV_SERVICE_RESOLUTION": "endpoints",
            "KNUV_DRAIN_SECONDS": "0",
        }

    async def _endpoints(self, name: str, revision: str, kind: str, subsets: list[EndpointSubset]) -> None:
        labels = {
            "serving.knative.dev/revision": revision,
            "serving.knative.dev/revisionUID": "uid",
            "networking.internal.knative.dev/serviceType": kind,
        }
        meta = ObjectMeta(name=name, namespace=NAMESPACE, labels=labels)
        try:
            await self.client.create(Endpoints(metadata=meta, subsets=subsets))
        except AlreadyExists:
            await self.client.patch(Endpoints, name, NAMESPACE, {"subsets": subsets})


def _subset(ready: Sequence[Address], not_ready: Sequence[Address] = ()) -> EndpointSubset:
    return EndpointSubset(
        addresses=[EndpointAddress(ip=host) for host, _ in ready],
        not_ready_addresses=[EndpointAddress(ip=host) for host, _ in not_ready],
        ports=[EndpointPort(name="http", port=port) for _, port in (*ready, *not_ready)[:1]],
    )


@asynccontextmanager
async def running_world(scratch: Path, cores: Cores) -> AsyncIterator[World]:
    """An API server in this process; no activator yet."""
    ca = CertificateAuthority.create()
    token = secrets.token_hex(16)
    server = ApiServer(ApiServerConfig(ca=ca, tokens={token: Identity("lab", ("system:masters",))}))
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        kubeconfig = scratch / "kubeconfig"
        write_kubeconfig(kubeconfig, server.url, ca.certificate_pem, token)
        client = await stack.enter_async_context(Client(ApiConfig.from_kubeconfig(kubeconfig)))
        for name in (NAMESPACE, SYSTEM):
            with suppress(AlreadyExists):
                await client.create(Namespace(metadata=ObjectMeta(name=name)))
        await client.create(ConfigMap(metadata=ObjectMeta(name="config-network", namespace=SYSTEM)))
        yield World(client, kubeconfig, scratch, cores)
