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
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from signal import SIGKILL
from typing import Any

from kube.errors import ApiError, ApiUnreachable
from kube.models.core import Container, Pod, PodStatus
from local_cluster.node.launch import NodeServices, NotCreated, PodLauncher, SourceMap
from local_cluster.node.logs import ContainerLog, LogsUnavailable
from local_cluster.node.loopback import PortRewrite
from local_cluster.node.pod_actions import Action, Remove, Report, RunHook, RunProbe, Signal, Spawn
from local_cluster.node.pod_history import resume
from local_cluster.node.pod_plan import PodPlan
from local_cluster.node.pod_state import START_ERROR_CODE, PodMachine
from local_cluster.node.pod_status import StatusBuilder
from local_cluster.node.probe_state import ProbeKind
from local_cluster.node.probes import ProbeFailed, ProbeTarget, run_hook, run_probe
from local_cluster.node.process import ContainerProcess, StartError
from local_cluster.node.status_writer import StatusWriter
from local_cluster.node.volumes import VolumeError

__all__ = ["PodRunner"]

_FOLDER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", re.ASCII)
"""A container's name becomes a folder's: nothing that could lead out of the pod's."""


@dataclass(slots=True)
class _Running:
    """What the current incarnation of a container has."""

    process: ContainerProcess
    target: ProbeTarget
    is_sandboxed: bool


class PodRunner:
    """One pod on this node. `closed()` is called once nothing of it is left.

    `network`: path of the pod's network namespace; empty: the machine's.
    """

    def __init__(
        self,
        pod: Pod,
        pod_ip: str,
        rewrite: PortRewrite,
        services: NodeServices,
        *,
        network: str = "",
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
        resume(self._machine, pod, services.clock())
        self._builder = StatusBuilder(pod_ip=pod_ip, host_ip=services.facts(pod_ip).host_ip, start_s=services.clock())
        self._writer = StatusWriter(services.client, pod, self._status)
        self._launcher = PodLauncher(pod, pod_ip, rewrite, services, network=network)
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

    def source_changed(self, kind: str, name: str) -> None:
        """A ConfigMap or Secret of the pod's namespace changed: whoever has it mounted sees it soon."""
        specs = list(self._specs.values())
        if any((found.kind, found.name) == (kind, name) for s in specs for found in self._launcher.references(s)):
            self._task(self._refresh(specs, kind, name))

    async def _refresh(self, specs: list[Container], kind: str, name: str) -> None:
        try:
            await self._launcher.refresh(specs, kind, name)
        except (ApiError, ApiUnreachable, VolumeError, OSError) as error:
            self._services.events.report(self.pod, "Warning", "FailedMount", f"{kind} {name}: {error}")

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
        if self._launcher.references(self._specs[container]):
            self._task(self._spawn_with_sources(container, restart_count))
            return []
        return self._launch(container, restart_count, {})

    async def _spawn_with_sources(self, container: str, restart_count: int) -> None:
        clock = self._services.clock
        try:
            sources = await self._launcher.fetch(self._specs[container])
        except (ApiError, ApiUnreachable) as error:
            self._do(self._machine.not_created(container, "CreateContainerConfigError", str(error), clock()))
            return
        self._do(self._launch(container, restart_count, sources))

    def _launch(self, container: str, restart_count: int, sources: SourceMap) -> list[Action]:
        services, machine = self._services, self._machine
        if machine.is_deleting:  # while its ConfigMaps were fetched
            return machine.not_created(container, "", "", services.clock())
        spec = self._specs[container]
        try:
            launch = self._launcher.prepare(spec, sources)
            log = self._open_log(container, restart_count)
        except NotCreated as error:
            return machine.not_created(container, error.reason, error.message, services.clock())
        try:
            process = ContainerProcess(
                self._launcher.start(launch),
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
            address=lambda host, port: self._address(spec, host, port),
            env=launch.env,
            cwd=launch.cwd,
            guardian=services.guardian,
            inside=launch.inside(process.pid),
        )
        self._running[container] = _Running(process, target, launch.sandbox is not None)
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
        running = self._running.pop(container)
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
        said = self._logs[container][-1].tail().strip()
        if running.is_sandboxed and code == START_ERROR_CODE and said.startswith(('exec: "', "container: ")):
            # What was to become the container says why it could not.
            self._do(self._machine.spawn_failed(container, said, self._services.clock()))
            return
        reason = "OOMKilled" if running.process.was_out_of_memory else ""
        self._do(self._machine.exited(container, code, number, message, self._services.clock(), reason=reason))

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
        self._launcher.remove()
        self._closed(self)

    async def leave(self) -> None:
        """For a closed pod: wait until its tasks ended and its API object is gone. Cancel to give up."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._is_vanished:
            await self._writer.stop()
        else:
            await self._writer.finished()
