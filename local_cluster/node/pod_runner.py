"""Carries out what one pod's state machine decides: processes, probes, hooks, status, logs.

The machine is told facts and answers with actions; this is the only place that turns them into effects. Processes are
started at once, in the call that brought the pod; the status is written beside that, never before it.
"""

import asyncio
import re
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable, NotFound
from kube.events import EventRecorder
from kube.models.core import ConfigMap, Container, Pod, PodStatus, Secret
from local_cluster.guardian import Guardian
from local_cluster.node.config import NodeConfig
from local_cluster.node.environment import (
    PodFacts,
    VariableError,
    container_environment,
    expand,
    references,
)
from local_cluster.node.images import ImageMap, ImageMapError
from local_cluster.node.logs import ContainerLog, LogsUnavailable
from local_cluster.node.loopback import PortRewrite
from local_cluster.node.pod_plan import PodPlan
from local_cluster.node.pod_state import (
    Action,
    PodMachine,
    Remove,
    Report,
    RunHook,
    RunProbe,
    Signal,
    Spawn,
)
from local_cluster.node.pod_status import StatusBuilder
from local_cluster.node.probe_state import ProbeKind
from local_cluster.node.probes import ProbeFailed, ProbeTarget, run_hook, run_probe
from local_cluster.node.process import ContainerProcess, StartError, spawn
from local_cluster.node.status_writer import StatusWriter
from local_cluster.node.strays import POD_VARIABLE
from local_cluster.node.warm import WarmProcesses
from proxies.logs import Logger

__all__ = ["NodeServices", "PodRunner"]

_FOLDER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", re.ASCII)
"""A container's name becomes a folder's: nothing that could lead out of the pod's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeServices:
    """What all pods of a node share."""

    config: NodeConfig
    client: Client
    images: ImageMap
    guardian: Guardian | None
    events: EventRecorder
    warm: WarmProcesses | None
    facts: Callable[[str], PodFacts]
    """Pod address -> what the node knows about such a pod."""
    clock: Callable[[], float]
    """Unix seconds that never go back."""
    log: Logger


class NotCreated(Exception):
    """A container cannot be made as its spec stands: a reason as the kubelet names it, and the cause."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(slots=True)
class _Running:
    """What the current incarnation of a container has."""

    process: ContainerProcess
    target: ProbeTarget


class PodRunner:
    """One pod on this node. `closed()` is called once nothing of it is left."""

    def __init__(
        self,
        pod: Pod,
        pod_ip: str,
        rewrite: PortRewrite,
        services: NodeServices,
        *,
        seen_s: float,
        closed: Callable[["PodRunner"], None],
    ) -> None:
        self.pod = pod
        self.pod_ip = pod_ip
        self.rewrite = rewrite
        self._services = services
        self._seen_s = seen_s
        self._closed = closed
        self._machine = PodMachine(PodPlan.of(pod))
        self._builder = StatusBuilder(pod_ip=pod_ip, host_ip=services.facts(pod_ip).host_ip, start_s=services.clock())
        self._writer = StatusWriter(services.client, pod, self._status)
        self._specs = {c.name: c for c in (*pod.spec.init_containers, *pod.spec.containers)}
        self._running: dict[str, _Running] = {}
        self._logs: dict[str, list[ContainerLog]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hooks: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._was_ready = False
        self._is_vanished = False
        self._is_closed = False
        meta = pod.metadata
        self._folder = services.config.state_dir / "logs" / "pods" / f"{meta.namespace}_{meta.name}_{meta.uid}"

    # For the node.

    def start(self) -> None:
        """Begin; the first processes run when this returns."""
        self._do(self._machine.begin(self._services.clock()))

    def delete(self, grace_s: float | None) -> None:
        """The API object is being deleted."""
        self._do(self._machine.delete(grace_s, self._services.clock()))

    def vanish(self) -> None:
        """The API object is gone, or the node stops: end everything now, and write nothing more."""
        if not self._is_vanished:
            self._is_vanished = True
            self._do(self._machine.delete(0, self._services.clock()))

    def logs(self, container: str, *, previous: bool = False) -> ContainerLog:
        """The log of a container's current or previous incarnation. Raises `LogsUnavailable`."""
        where = f'container "{container}" in pod "{self.pod.name}"'
        if container not in self._specs:
            raise LogsUnavailable(f"container {container} is not valid for pod {self.pod.name}")
        logs = self._logs.get(container, [])
        if previous:
            if len(logs) < 2:
                raise LogsUnavailable(f"previous terminated {where} not found")
            return logs[-2]
        if not logs:
            record = self._machine.record(container)
            raise LogsUnavailable(f"{where} is waiting to start: {record.reason or 'ContainerCreating'}")
        return logs[-1]

    # From decisions to effects.

    def _do(self, actions: list[Action]) -> None:
        """Carry out `actions` and those that follow from them, then set the timer and report."""
        pending = deque(actions)
        while pending:
            pending.extend(self._do_one(pending.popleft()))
        if self._is_closed:
            return
        self._set_timer()
        self._note_ready()
        if not self._is_vanished:
            self._writer.wanted()

    def _do_one(self, action: Action) -> list[Action]:
        match action:
            case Spawn(container, restart_count):
                return self._spawn(container, restart_count)
            case Signal(container, number):
                running = self._running[container]
                if number == SIGKILL:
                    running.process.kill()
                else:
                    running.process.terminate()
            case RunHook(container, hook):
                self._hooks[container] = self._task(self._run_hook(container, hook))
            case RunProbe(container, restart_count, kind):
                self._task(self._run_probe(container, restart_count, kind))
            case Report(type_, reason, message):
                if not self._is_vanished:
                    self._services.events.report(self.pod, type_, reason, message)
            case Remove():
                self._remove()
        return []

    def _spawn(self, container: str, restart_count: int) -> list[Action]:
        if references(self._specs[container]):
            self._task(self._spawn_with_sources(container, restart_count))
            return []
        return self._launch(container, restart_count, {})

    async def _spawn_with_sources(self, container: str, restart_count: int) -> None:
        clock = self._services.clock
        try:
            sources = await self._fetch_sources(self._specs[container])
        except (ApiError, ApiUnreachable) as error:
            self._do(self._machine.not_created(container, "CreateContainerConfigError", str(error), clock()))
            return
        self._do(self._launch(container, restart_count, sources))

    async def _fetch_sources(self, spec: Container) -> dict[tuple[str, str], Mapping[str, str]]:
        client, namespace = self._services.client, self.pod.namespace
        sources: dict[tuple[str, str], Mapping[str, str]] = {}
        for reference in references(spec):
            key = (reference.kind, reference.name)
            if key in sources:
                continue
            try:
                if reference.kind == "Secret":
                    sources[key] = (await client.get(Secret, reference.name, namespace)).data
                else:
                    sources[key] = (await client.get(ConfigMap, reference.name, namespace)).data
            except NotFound:
                continue  # its absence is judged where the variable is worked out
        return sources

    def _launch(
        self, container: str, restart_count: int, sources: Mapping[tuple[str, str], Mapping[str, str]]
    ) -> list[Action]:
        services, machine = self._services, self._machine
        if machine.is_deleting:  # while its ConfigMaps were fetched
            return machine.not_created(container, "", "", services.clock())
        spec = self._specs[container]
        try:
            command, env, cwd = self._command(spec, sources)
            log = self._open_log(container, restart_count)
        except NotCreated as error:
            return machine.not_created(container, error.reason, error.message, services.clock())
        try:
            warm = services.warm.take(command, env, cwd) if services.warm is not None else None
            process = ContainerProcess(
                warm or spawn(command, env=env, cwd=cwd),
                log=log,
                guardian=services.guardian,
                clock=services.clock,
                ended=lambda code, number: self._exited(container, code, number),
            )
        except StartError as error:
            log.feed(f"{error}\n".encode(), services.clock())
            log.close(services.clock())
            return machine.spawn_failed(container, str(error), services.clock())
        target = ProbeTarget(
            address=lambda host, port: self._address(spec, host, port), env=env, cwd=cwd, guardian=services.guardian
        )
        self._running[container] = _Running(process, target)
        services.log.info(
            "container_started",
            namespace=self.pod.namespace,
            pod=self.pod.name,
            container=container,
            pid=process.pid,
            pod_seen=self._seen_s,
            spawned=time.time(),
        )
        return machine.spawned(container, f"process://{process.pid}-{uuid.uuid4().hex[:12]}", services.clock())

    def _command(
        self, spec: Container, sources: Mapping[tuple[str, str], Mapping[str, str]]
    ) -> tuple[list[str], dict[str, str], str]:
        """(command line, environment, working directory). Raises `NotCreated`."""
        services = self._services
        self._refuse_mounts(spec)
        try:
            image = services.images.find(spec.image)
        except ImageMapError as error:
            raise NotCreated("ErrImagePull", str(error)) from error
        entrypoint = spec.command or (list(image.command) if image else [])
        if not entrypoint:
            raise NotCreated("ErrImagePull", services.images.advice(spec.image))
        guardian = services.guardian
        base = {
            **services.config.environ,
            **(image.env if image else {}),
            **(guardian.environment if guardian else {}),
            POD_VARIABLE: self.pod.metadata.uid,
        }
        try:
            env = container_environment(
                spec,
                self.pod,
                services.facts(self.pod_ip),
                base=base,
                sources=sources,
                replaced=self.rewrite.env.get(spec.name, {}),
            )
        except VariableError as error:
            raise NotCreated("CreateContainerConfigError", str(error)) from error
        command = [expand(part, env) for part in (*entrypoint, *spec.args)]
        folder = Path(services.config.working_dir, spec.working_dir or (image.working_dir if image else ""))
        return command, env, str(folder)

    def _refuse_mounts(self, spec: Container) -> None:
        """Mounts need a mount namespace of the pod's own, which processes on the shared network do not get."""
        for mount in spec.volume_mounts:
            name = mount.get("name")
            volume = next((v for v in self.pod.spec.volumes if v.get("name") == name), {})
            kind = next((key for key in volume if key != "name"), "unknown")
            raise NotCreated(
                "CreateContainerConfigError",
                f'volume "{name}": {kind} volumes are not supported in loopback mode '
                f"(mount at {mount.get('mountPath')}); pass the data by env or envFrom",
            )

    def _address(self, spec: Container, host: str, port: int | str) -> tuple[str, int]:
        """Where a probe or hook connects to."""
        if isinstance(port, str):
            named = next((p.container_port for p in spec.ports if p.name == port), None)
            if named is None and not port.isdigit():
                raise ProbeFailed(f"couldn't find port: {port}")
            port = named if named is not None else int(port)
        if host:
            return host, port
        return self.rewrite.probe_address(spec.name, self.pod_ip, port)

    def _open_log(self, container: str, restart_count: int) -> ContainerLog:
        if not _FOLDER_NAME.match(container):
            raise NotCreated("CreateContainerError", f"container name {container!r}: expected a DNS label")
        logs = self._logs.setdefault(container, [])
        try:
            log = ContainerLog(self._folder / container / f"{restart_count}.log")
        except OSError as error:
            raise NotCreated("CreateContainerError", f"no log: {error}") from error
        logs.append(log)
        if len(logs) > 2:
            logs.pop(0).discard()
        return log

    # Facts from outside.

    def _exited(self, container: str, code: int, number: int) -> None:
        self._running.pop(container, None)
        hook = self._hooks.pop(container, None)
        if hook is not None:
            hook.cancel()
        spec = self._specs[container]
        wants_log = spec.termination_message_policy == "FallbackToLogsOnError" and code != 0
        message = self._logs[container][-1].tail() if wants_log else ""
        self._services.log.info(
            "container_ended",
            namespace=self.pod.namespace,
            pod=self.pod.name,
            container=container,
            exit_code=code,
            signal=number,
        )
        self._do(self._machine.exited(container, code, number, message, self._services.clock()))

    async def _run_hook(self, container: str, hook: str) -> None:
        lifecycle = self._specs[container].lifecycle
        assert lifecycle is not None
        handler = lifecycle.pre_stop if hook == "preStop" else lifecycle.post_start
        assert handler is not None
        error = ""
        try:
            await run_hook(handler, self._running[container].target)
        except ProbeFailed as failure:
            error = str(failure)
        self._hooks.pop(container, None)
        self._do(self._machine.hook_done(container, hook, error, self._services.clock()))

    async def _run_probe(self, container: str, restart_count: int, kind: ProbeKind) -> None:
        spec = self._specs[container]
        probe = {
            ProbeKind.STARTUP: spec.startup_probe,
            ProbeKind.READINESS: spec.readiness_probe,
            ProbeKind.LIVENESS: spec.liveness_probe,
        }[kind]
        running = self._running.get(container)
        if probe is None or running is None:
            return
        message = ""
        try:
            await run_probe(probe, running.target, float(probe.timeout_seconds or 1))
        except ProbeFailed as failure:
            message = str(failure)
        now_s = self._services.clock()
        self._do(self._machine.probe_result(container, restart_count, kind, not message, message, now_s))

    # Details.

    def _status(self) -> PodStatus:
        return self._builder.build(self._machine, self._services.clock())

    def _note_ready(self) -> None:
        is_ready = self._machine.is_ready
        if is_ready and not self._was_ready:
            self._services.log.info("pod_ready", namespace=self.pod.namespace, pod=self.pod.name, at=time.time())
        self._was_ready = is_ready

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at_s = self._machine.next_at()
        if at_s is not None:
            delay_s = max(0.0, at_s - self._services.clock())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self._machine.tick(self._services.clock()))

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._logged(work), name=f"pod {self.pod.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._services.log.exception("pod_task_failed", error, pod=self.pod.name)

    def _remove(self) -> None:
        """Every container ended: let the API object go, then the address."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            task.cancel()
        if not self._is_vanished:
            self._writer.remove()
        for logs in self._logs.values():
            for log in logs:
                log.discard()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._closed(self)

    async def leave(self) -> None:
        """For a closed pod: wait until its tasks ended and its API object is gone. Cancel to give up."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._is_vanished:
            await self._writer.stop()
        else:
            await self._writer.finished()
