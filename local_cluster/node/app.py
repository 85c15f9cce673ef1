"""The node: watches the pods that are assigned to it, runs them, answers for their logs.

Addresses and ports are taken when a pod appears and given back when its last process has ended.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable, Conflict, NotFound
from kube.events import EventRecorder
from kube.informer import Informer
from kube.models.core import ConfigMap, Pod, Secret
from local_cluster.apiserver.errors import bad_request
from local_cluster.guardian import Guardian
from local_cluster.node.cgroups import Cgroups
from local_cluster.node.config import NodeConfig
from local_cluster.node.dns import DnsServer
from local_cluster.node.environment import PodFacts
from local_cluster.node.images import ImageEntry, ImageMap
from local_cluster.node.launch import ApiAccess, NodeServices
from local_cluster.node.logs import LogsUnavailable
from local_cluster.node.loopback import PortRewrite, rewrite_ports
from local_cluster.node.network import AddressPool, PoolExhausted, PortPool
from local_cluster.node.pod_networks import POD_NETWORK, PodNamespace, PodNetworks
from local_cluster.node.pod_runner import PodRunner
from local_cluster.node.registration import register
from local_cluster.node.sandbox import Sandboxes, may_isolate
from local_cluster.node.service_proxy import ServiceProxy
from local_cluster.node.strays import Strays
from local_cluster.node.warm import WarmProcesses
from proxies.logs import Logger

__all__ = ["Node", "NodeConfig"]

_STOP_S = 5.0
_RETRY_S = 1.0
_DIAL_S = 5.0
_NETWORK_SPARE_S = 0.05
"""Between two pod networks that are made ahead of time: not while the pod that took one is starting."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a pod is on the network."""

    pod_ip: str
    rewrite: PortRewrite
    namespace: PodNamespace | None


class Node:
    """One machine that runs pods. `stop` ends everything it started."""

    def __init__(
        self,
        client: Client,
        config: NodeConfig,
        *,
        guardian: Guardian | None = None,
        api: ApiAccess | None = None,
        networks: PodNetworks | None = None,
        cgroups: Cgroups | None = None,
        no_limits: str = "this node was given no cgroups",
        log: Logger | None = None,
    ) -> None:
        self._client = client
        self._config = config
        self._log = (log or Logger("node")).bind(node=config.name)
        self._addresses = AddressPool(config.subnet, taken_max=config.pods_max)
        self._ports = PortPool()
        self._networks = networks
        self._pod_addresses = AddressPool(POD_NETWORK, taken_max=config.pods_max)
        """Of pods with a network of their own."""
        self._host_ip = networks.gateway if networks is not None else str(config.subnet.network_address + 1)
        self._services_proxy: ServiceProxy | None = None
        self._dns: DnsServer | None = None
        self._cpu = str(os.cpu_count() or 1)
        self._memory = str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        self._clock_start_s = time.time() - time.monotonic()
        self._events = EventRecorder(client, component="kubelet", host=config.name, clock=self._clock)
        builtin = tuple(ImageEntry(pattern, tuple(command)) for pattern, command in config.images.items())
        scratch = (config.state_dir / "scratch").absolute()
        self._sandboxes = Sandboxes(scratch, guardian=guardian) if may_isolate() else None
        self._warm: WarmProcesses | None = None
        if config.warm_command:
            roots = scratch if networks is not None else None
            self._warm = WarmProcesses(config.warm_command, guardian=guardian, scratch=roots)
        self._services = NodeServices(
            config=config,
            client=client,
            images=ImageMap(builtin, config.state_dir / "images.yaml"),
            guardian=guardian,
            warm=self._warm,
            sandboxes=self._sandboxes,
            cgroups=cgroups,
            no_limits=no_limits,
            api=api,
            events=self._events,
            facts=self._facts,
            clock=self._clock,
            log=self._log,
        )
        self._pods = Informer(client, Pod, field_selector=f"spec.nodeName={config.name}", log=self._log)
        self._pods.on_change(self._changed)
        self._config_maps = Informer(client, ConfigMap, log=self._log)
        self._secrets = Informer(client, Secret, log=self._log)
        self._config_maps.on_change(self._source_changed)
        self._secrets.on_change(self._source_changed)
        self._runners: dict[str, PodRunner] = {}
        self._places: dict[str, _Place] = {}
        self._waiting: set[str] = set()
        """Uids of pods for which there is no address or port yet."""
        self._finished: set[str] = set()
        """Uids of pods that had ended before this node started: nothing of them runs, their objects wait."""
        self._leaving: set[asyncio.Task[None]] = set()
        self._strays = Strays()
        self._emptied = asyncio.Event()
        self._network_timer: asyncio.TimerHandle | None = None
        self._stopping = False

    async def start(self) -> None:
        """Register, then run what is assigned to this node."""
        capacity = {"cpu": self._cpu, "memory": self._memory, "pods": str(self._config.pods_max)}
        await register(self._client, self._config.name, self._host_ip, capacity, self._clock())
        await self._events.start()
        if self._networks is not None:
            await self._start_services(self._networks.gateway)
        await self._pods.start()
        for sources in (self._config_maps, self._secrets):
            await sources.start()

    def keep_spares(self) -> None:
        """Begin to make ahead of time what pods need: once it takes processor time from nobody who is waited for."""
        if self._warm is not None:
            self._warm.start()
        if self._networks is not None:
            assert self._sandboxes is not None
            self._sandboxes.start()
            self._prepare_networks()

    async def _start_services(self, address: str) -> None:
        """Answer for the cluster's names and for ClusterIPs, in the pods' network. Raises `OSError`."""
        self._services_proxy = ServiceProxy(self._client, self._config.cluster_domain, log=self._log)
        await self._services_proxy.start()
        self._dns = DnsServer(self._services_proxy.table)
        await self._dns.start(address)

    async def stop(self) -> None:
        """End every process. API objects stay as they are."""
        self._stopping = True
        for informer in (self._pods, self._config_maps, self._secrets):
            await informer.stop()
        await self._events.stop()
        if self._warm is not None:
            self._warm.stop()
        if self._sandboxes is not None:
            self._sandboxes.stop()
        for runner in list(self._runners.values()):
            runner.vanish()
        if self._runners:
            self._emptied.clear()
            try:
                async with asyncio.timeout(_STOP_S):
                    await self._emptied.wait()
            except TimeoutError:
                self._log.error("pods_do_not_end", pods=[runner.pod.name for runner in self._runners.values()])
        await self._strays.finished()
        if self._dns is not None:
            self._dns.stop()
        if self._services_proxy is not None:
            await self._services_proxy.stop()
        if self._network_timer is not None:
            self._network_timer.cancel()
        if self._networks is not None:
            self._networks.close()
        for task in self._leaving:
            task.cancel()
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def read_logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        follow: bool = False,
        tail_lines: int | None = None,
        since_s: float | None = None,
        timestamps: bool = False,
        *,
        previous: bool = False,
    ) -> AsyncIterator[bytes]:
        """A container's log in chunks; `since_s`: only what was written in the last so many seconds.

        This is the API server's `LogReader`. Raises a 400 `StatusError` when there is no such log.
        """
        runner = next((r for r in self._runners.values() if r.pod.key == (namespace, pod)), None)
        if runner is None:
            raise bad_request(f'pod "{pod}" does not run on node {self._config.name}')
        try:
            log = runner.logs(container, previous=previous)
        except LogsUnavailable as error:
            raise bad_request(str(error)) from error
        oldest_s = None if since_s is None else self._clock() - since_s
        return log.read(follow=follow, tail_lines=tail_lines, since_s=oldest_s, timestamps=timestamps)

    async def dial(self, namespace: str, pod: str, port: int) -> socket.socket:
        """Connect to a port of a pod, also one that listens on its loopback address only.

        This is the API server's `Dialer`. Raises `OSError`, or a 400 `StatusError` when the pod does not run here.
        """
        runner = next((r for r in self._runners.values() if r.pod.key == (namespace, pod)), None)
        if runner is None:
            raise bad_request(f'pod "{pod}" does not run on node {self._config.name}')
        place, networks = self._places[runner.pod.metadata.uid], self._networks
        if networks is not None and place.namespace is not None:
            return await _connect(networks.make_socket(place.namespace), ("127.0.0.1", port))
        given = place.rewrite.probe_address(place.rewrite.serving_container, place.pod_ip, port)
        try:
            return await _connect(socket.socket(), given)
        except OSError:
            return await _connect(socket.socket(), ("127.0.0.1", port))

    # Pods come and go.

    def _changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._waiting.discard(old.metadata.uid)
            self._finished.discard(old.metadata.uid)
            runner = self._runners.get(old.metadata.uid)
            if runner is not None:
                runner.vanish()
        if new is None or self._stopping:
            return
        runner = self._runners.get(new.metadata.uid)
        if runner is None:
            if old is None or old.metadata.uid != new.metadata.uid:
                self._admit(new)
            elif new.metadata.uid in self._finished and new.metadata.deletion_timestamp is not None:
                self._finished.discard(new.metadata.uid)
                self._leave(self._let_go(new))
        elif new.metadata.deletion_timestamp is not None:
            runner.delete(new.metadata.deletion_grace_period_seconds)

    def _admit(self, pod: Pod) -> None:
        """Give the pod an address and start it; without a free one it is tried again."""
        seen_s = time.time()
        uid = pod.metadata.uid
        self._waiting.discard(uid)
        if pod.metadata.deletion_timestamp is not None:
            self._leave(self._let_go(pod))
            return
        if pod.status.phase in ("Succeeded", "Failed"):
            self._finished.add(uid)
            return
        try:
            place = self._take_place(pod)
        except (PoolExhausted, OSError) as error:
            self._waiting.add(uid)
            self._events.report(pod, "Warning", "FailedCreatePodSandBox", str(error))
            asyncio.get_running_loop().call_later(_RETRY_S, self._admit_again, pod.key, uid)
            return
        network = place.namespace.path if place.namespace is not None else ""
        runner = PodRunner(
            pod,
            place.pod_ip,
            place.rewrite,
            self._services,
            network=network,
            seen_s=seen_s,
            closed=lambda runner: self._pod_closed(runner, place),
        )
        self._runners[uid] = runner
        self._places[uid] = place
        runner.start()

    def _admit_again(self, key: tuple[str, str], uid: str) -> None:
        pod = self._pods.get(*key)
        if pod is not None and pod.metadata.uid == uid and uid in self._waiting and not self._stopping:
            self._admit(pod)

    def _take_place(self, pod: Pod) -> _Place:
        """An address, with a network if the pod gets its own. Raises `PoolExhausted` and `OSError`, taking nothing."""
        if self._networks is not None and not pod.spec.host_network:
            pod_ip = self._pod_addresses.take()
            self._prepare_networks_later()
            try:
                return _Place(pod_ip, PortRewrite(), self._networks.create(pod_ip))
            except OSError:
                self._pod_addresses.release(pod_ip)
                raise
        pod_ip = self._addresses.take()
        try:
            return _Place(pod_ip, rewrite_ports(pod, pod_ip, self._ports.take), None)
        except PoolExhausted:
            self._addresses.release(pod_ip)
            raise

    def _prepare_networks_later(self) -> None:
        if self._network_timer is None and not self._stopping:
            loop = asyncio.get_running_loop()
            self._network_timer = loop.call_later(_NETWORK_SPARE_S, self._prepare_networks)

    def _prepare_networks(self) -> None:
        self._network_timer = None
        assert self._networks is not None
        try:
            are_enough = self._networks.prepare()
        except OSError as error:
            self._log.warning("no_spare_network", error=str(error))  # a pod's start is slower, and says why it fails
            return
        if not are_enough:
            self._prepare_networks_later()

    def _pod_closed(self, runner: PodRunner, place: _Place) -> None:
        self._runners.pop(runner.pod.metadata.uid, None)
        self._places.pop(runner.pod.metadata.uid, None)
        if self._networks is not None and place.namespace is not None:
            self._networks.remove(place.namespace)
            self._pod_addresses.release(place.pod_ip)
        else:
            self._addresses.release(place.pod_ip)
        if place.rewrite.port:
            self._ports.release(place.rewrite.port)
        self._strays.end(runner.pod.metadata.uid)
        if not self._runners:
            self._emptied.set()
        self._leave(runner.leave())

    def _leave(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="leave")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _let_go(self, pod: Pod) -> None:
        """Remove the API object of a pod of which nothing runs here."""
        while True:
            try:
                await self._client.delete(Pod, pod.name, pod.namespace, uid=pod.metadata.uid, grace_period_s=0)
            except (NotFound, Conflict):
                return
            except (ApiError, ApiUnreachable):
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def _source_changed(self, old: ConfigMap | Secret | None, new: ConfigMap | Secret | None) -> None:
        if new is None or self._stopping:  # what is mounted of something deleted stays
            return
        if (
            old is not None
            and old.data == new.data
            and getattr(old, "binary_data", 0) == getattr(new, "binary_data", 0)
        ):
            return
        for runner in self._runners.values():
            if runner.pod.namespace == new.namespace:
                runner.source_changed(new.RESOURCE.kind, new.name)

    # What the node is.

    def _clock(self) -> float:
        return self._clock_start_s + time.monotonic()

    def _facts(self, pod_ip: str) -> PodFacts:
        return PodFacts(pod_ip=pod_ip, host_ip=self._host_ip, cpu=self._cpu, memory=self._memory)


async def _connect(made: socket.socket, target: tuple[str, int]) -> socket.socket:
    made.setblocking(False)
    try:
        async with asyncio.timeout(_DIAL_S):
            await asyncio.get_running_loop().sock_connect(made, target)
    except BaseException:
        made.close()
        raise
    return made
