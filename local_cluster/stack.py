"""The local stack: one process that is the cluster (API server, workload controllers, node), pods for everything else.

Theory of operation. `Stack.start` makes the machine's part first (subnet, credentials, API server, node), then creates
the system's own Deployments, and from there on Kubernetes' ordinary mechanisms do the work: the node runs and restarts
the components, probes fill the Endpoints, informers carry the news. The stack itself only watches the system's pods, to
tell the person at the terminal when one of them died and what it said last.

Whatever ends the stack, nothing stays behind: an orderly stop ends every pod, and the guardian ends them when there was
no order.
"""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import IO

import uvloop

from gateway.bootstrap import render_bootstrap
from kube.client import Client
from kube.errors import ApiError
from kube.informer import Informer
from kube.models.core import Endpoints, Pod
from kube.models.serving import Service
from local_cluster import nats, system
from local_cluster.admission import install as install_admission
from local_cluster.announcing import Announcer
from local_cluster.apiserver.certificates import write_kubeconfig
from local_cluster.apiserver.journal import JournalError
from local_cluster.apiserver.server import ApiServer, ApiServerConfig
from local_cluster.credentials import Credentials, identity_of
from local_cluster.direct_client import DirectClient
from local_cluster.eventing import Eventing, base_manifests, brokers_host
from local_cluster.guardian import Guardian
from local_cluster.host_ports import HostPorts
from local_cluster.manifests import Kinds, ManifestError, apply, load
from local_cluster.node.app import Node, NodeConfig
from local_cluster.node.cgroups import Cgroups, CgroupsUnavailable
from local_cluster.node.launch import ApiAccess
from local_cluster.node.pod_networks import SERVICE_NETWORK, PodNetworks, enter_own_network
from local_cluster.node.volumes import TokenSource
from local_cluster.preparation import (
    StackError,
    claim_subnet,
    free_port,
    port_problem,
    prepare_state_dir,
    require_programs,
)
from local_cluster.revival import create, revive
from local_cluster.settings import StackInfo
from local_cluster.source_images import adapter_images
from local_cluster.stack_config import StackConfig, info_of_before
from local_cluster.subnet import Subnet
from local_cluster.system import SystemLayout, split_address
from local_cluster.workloads.app import Workloads
from proxies.logs import Logger

__all__ = ["Stack", "StackConfig", "StackError", "run"]

_READY_S = 30.0
_LOG_BYTES_MAX = 16 << 20
_FILES_OF_ENVOY = 250
"""What it has open beside connections of requests: listeners, xDS, logs, probes."""


class Stack:
    """One local stack. `start` raises `StackError`; after it, `stop` must be called, also when `start` failed."""

    def __init__(self, config: StackConfig, say: Callable[[str], None], *, host: HostPorts | None = None) -> None:
        """`host`: the machine's ports, of a stack in a network of its own, which we are in already."""
        self._config = config
        self._host = host
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
        self._eventing: Eventing | None = None
        self._cgroups: Cgroups | None = None
        self._no_limits = ""
        self._ca_pem = b""
        self._tokens: dict[str, str] = {}
        self._system_pods: list[Informer[Pod]] = []
        self._announcer: Announcer | None = None
        self._stopping = False

    async def start(self) -> None:
        """Bring everything up; returns when the gateway and all components are ready and the manifests are applied."""
        began = time.monotonic()
        config, host = self._config, self._host
        before = info_of_before(config)
        self._lock_file, self._log_file = prepare_state_dir(config.state_dir)
        envoy = require_programs()
        if config.components.eventing == "jetstream":
            nats.binary()
        self._subnet = claim_subnet(before.subnet)
        networks = PodNetworks() if host is not None else None
        layout = SystemLayout(
            subnet=self._subnet.network,
            http_host="127.0.0.1" if networks is None else networks.gateway,
            http_port=free_port("--http-port", config.http_port, before.http_port) if host is None else host.http.port,
            state_dir=config.state_dir.absolute(),
            envoy=envoy,
            pods_have_networks=networks is not None,
        )
        self._open_cgroups()  # while we are the only process of ours
        cgroup = self._cgroups.folder if self._cgroups is not None else None
        self._guardian = Guardian(held=[self._lock_file.fileno()], cgroup=cgroup)
        await self._guardian.start()
        self._api = await self._start_api(layout, before.api_port)
        admin = await self._client("admin")
        components = config.components
        if config.keeps_state:
            await revive(admin)
        for manifest in [
            *system.namespaces(components),
            *system.config_maps(layout.domain, components),
            *base_manifests(components),
        ]:
            await create(admin, manifest)
        self._eventing = Eventing(
            self._api,
            admin,
            layout,
            components,
            self._ca_pem,
            keeps_state=config.keeps_state,
            say=self._say,
            log=self._log,
        )
        self._eventing.watch()
        node_client = await self._client("node")
        self._workloads = Workloads(await self._client("workloads"), log=self._log)
        await self._workloads.start()
        self._node = Node(
            node_client,
            NodeConfig(
                name="local",
                subnet=layout.subnet,
                state_dir=layout.state_dir,
                images={system.QUEUE_PROXY_IMAGE: components.queue_proxy, **adapter_images(layout)},
                warm_command=() if "queue-proxy" in components.replaced else components.queue_proxy,
            ),
            guardian=self._guardian,
            api=ApiAccess(self._api.config.host, self._api.port, self._pod_credentials),
            networks=networks,
            cgroups=self._cgroups,
            no_limits=self._no_limits,
            log=self._log,
        )
        await self._node.start()
        self._api.set_log_reader(self._node.read_logs)
        self._api.set_dialer(self._node.dial)
        self._eventing.dialer = self._node.dial
        bootstrap = render_bootstrap(
            xds_address=layout.xds,
            admin_address=layout.envoy_admin,
            connections_max=_clients_max(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        )
        layout.envoy_bootstrap.write_text(bootstrap)
        for namespace in components.namespaces:
            pods = Informer(admin, Pod, namespace=namespace, log=self._log)
            pods.on_change(self._tell_of_crashes)
            self._system_pods.append(pods)
            await pods.start()
        for manifest in system.workloads(layout, components):
            await create(admin, manifest)
        await self._components_ready(admin)
        self._node.keep_spares()
        api_url, debug = self._api.url, layout.autoscaler_debug
        if host is not None:
            await host.http.lead_to(layout.http_host, layout.http_port)
            await host.debug.lead_to(*split_address(layout.autoscaler_debug))
            api_url, debug = f"https://127.0.0.1:{host.api.port}", f"127.0.0.1:{host.debug.port}"
        self._say(f"gateway     http://127.0.0.1:{layout.http_port}")
        self._say(f"kubernetes  {api_url}")
        self._say(f"kubeconfig  {layout.state_dir / 'kubeconfig'}")
        await self._apply_manifests(admin, layout.http_port)
        StackInfo(
            pid=os.getpid(),
            http_port=layout.http_port,
            api_url=api_url,
            autoscaler_debug=debug,
            subnet=str(layout.subnet),
            brokers_host=brokers_host(layout) if components.eventing != "none" else "",
            pods_have_networks=layout.pods_have_networks,
        ).save(layout.state_dir)
        self._say(f"up after {time.monotonic() - began:.1f} s; Ctrl-C stops everything")
        if self._announcer is not None:
            await self._announcer.start()

    async def stop(self) -> None:
        """End every pod and every server. Safe at any point of `start`."""
        self._stopping = True
        if self._eventing is not None:
            await self._eventing.stop()
        if self._announcer is not None:
            await self._announcer.stop()
        for pods in self._system_pods:
            await pods.stop()
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
        if self._cgroups is not None:
            self._cgroups.close()
        if self._subnet is not None:
            self._subnet.release()
        if self._host is not None:
            self._host.close()
        for file in (self._log_file, self._lock_file):
            if file is not None:
                file.close()

    # Starting.

    def _open_cgroups(self) -> None:
        try:
            self._cgroups = Cgroups.open()
        except CgroupsUnavailable as error:
            self._no_limits = str(error)
            self._log.info("no_resource_limits", reason=self._no_limits)

    async def _start_api(self, layout: SystemLayout, port_before: int) -> ApiServer:
        config = self._config
        keeps = config.keeps_state
        credentials = Credentials.kept(layout.state_dir / "credentials") if keeps else Credentials.fresh()
        tokens = {name: credentials.token(name) for name in ("admin", "node", "workloads")}
        port = config.api_port
        if port == 0 and port_before != 0 and self._host is None:
            port = free_port("--api-port", 0, port_before)
        try:
            api = ApiServer(
                ApiServerConfig(
                    host="127.0.0.1" if self._host is None else layout.http_host,
                    port=port if self._host is None else 0,
                    service_cidr=layout.service_cidr if self._host is None else SERVICE_NETWORK,
                    ca=credentials.authority,
                    token_key=credentials.key,
                    tokens={token: identity_of(name) for name, token in tokens.items()},
                    state_file=layout.state_dir / "cluster.sqlite" if keeps else None,
                )
            )
        except JournalError as error:
            raise StackError(f"--state-dir: {error}") from error
        install_admission(api)
        try:
            await api.start()
        except OSError as error:
            raise StackError(port_problem("--api-port", self._config.api_port, error)) from error
        self._ca_pem = credentials.authority.certificate_pem
        for name in self._config.components.accounts:
            tokens[name] = api.issue_token(system.namespace_of(name), name)
        self._tokens = tokens
        for name, token in tokens.items():
            url = api.url
            if name == "admin" and self._host is not None:  # for people and programs outside
                url = f"https://127.0.0.1:{self._host.api.port}"
            path = layout.state_dir / "kubeconfig" if name == "admin" else layout.kubeconfig(name)
            write_kubeconfig(path, url, self._ca_pem, token)
        if self._host is not None:
            await self._host.api.lead_to(api.config.host, api.port)
        return api

    def _pod_credentials(self, namespace: str, account: str) -> TokenSource:
        assert self._api is not None
        return TokenSource(self._api.issue_token(namespace, account), self._ca_pem)

    async def _client(self, name: str) -> Client:
        assert self._api is not None
        client = DirectClient(self._api, identity_of(name), agent="knuv-up")
        await client.open()
        self._clients.append(client)
        return client

    async def _components_ready(self, client: Client) -> None:
        deadline = time.monotonic() + _READY_S
        ready = asyncio.Event()
        endpoints = Informer(client, Endpoints, namespace=system.SYSTEM_NAMESPACE, log=self._log)
        endpoints.on_change(lambda _old, _new: ready.set())
        for pods in self._system_pods:
            pods.on_change(lambda _old, _new: ready.set())
        await endpoints.start()
        try:
            while True:
                ready.clear()
                missing = self._not_ready()
                behind = endpoints.get(system.SYSTEM_NAMESPACE, "activator-service")
                is_reachable = behind is not None and any(subset.addresses for subset in behind.subsets)
                if not missing and (is_reachable or "activator" in self._config.components.without):
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
        listed = [pod for pods in self._system_pods for pod in pods.list()]
        ready = {pod.metadata.labels.get("app") for pod in listed if pod.is_ready()}
        return [name for name in self._config.components.awaited if name not in ready]

    async def _apply_manifests(self, client: Client, http_port: int) -> None:
        if not self._config.manifests:
            return
        kinds, services = await Kinds.discover(client), set()
        for path in self._config.manifests:
            try:
                for manifest in load(path):
                    done = await apply(client, kinds, manifest, "default")
                    self._say(f"{done.kind.lower()}/{done.name} {done.outcome}")
                    if manifest["apiVersion"] == Service.RESOURCE.api_version and done.kind == "Service":
                        services.add((done.namespace, done.name))
            except (ManifestError, ApiError) as error:
                text = error.message if isinstance(error, ApiError) else str(error)
                raise StackError(f"--file {path}: {text}") from error
        if services:
            self._announcer = Announcer(client, self._say, http_port, services, self._log)

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


def _clients_max(files_max: int) -> int | None:
    """Connections to Envoy that leave it files for as many towards pods; `files_max` is what its processes may open."""
    return None if files_max == resource.RLIM_INFINITY else max(64, files_max // 2 - _FILES_OF_ENVOY)


def run(config: StackConfig, say: Callable[[str], None]) -> None:
    """Run a stack until SIGINT or SIGTERM. Raises `StackError` when it cannot come up."""
    host = None
    if config.network == "netns":
        host = HostPorts(config)  # before the machine's network is out of reach
        try:
            enter_own_network()
        except OSError as error:
            raise StackError(f"--network netns: {error}; it needs root, or leave it at loopback") from error
    uvloop.run(_run(config, say, host))


async def _run(config: StackConfig, say: Callable[[str], None], host: HostPorts | None) -> None:
    wanted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # under nohup it is ignored
            loop.add_signal_handler(number, wanted.set)
    stack = Stack(config, say, host=host)
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
