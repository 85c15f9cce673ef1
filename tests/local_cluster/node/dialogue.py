"""A pod's state machine on a stepped clock, spoken to by container name."""

from signal import SIGKILL, SIGTERM
from typing import Any

import msgspec

from kube.models.core import ContainerStatus, Pod, PodStatus
from local_cluster.node.pod_actions import Action, Remove, Report, RunHook, RunProbe, Signal, Spawn
from local_cluster.node.pod_plan import PodPlan
from local_cluster.node.pod_state import PodMachine
from local_cluster.node.pod_status import StatusBuilder
from local_cluster.node.probe_state import ProbeKind

PRE_STOP = {"lifecycle": {"preStop": {"httpGet": {"port": 8022, "path": "/wait-for-drain"}}}}


class Dialogue:
    """Tells facts and answers with what the machine wants, as short texts; events for people are kept apart."""

    def __init__(self, *containers: dict[str, Any] | str, **spec: Any) -> None:
        named = [{"name": c} if isinstance(c, str) else c for c in containers]
        data = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": named, **spec}}
        self.machine = PodMachine(PodPlan.of(msgspec.convert(data, Pod)))
        self.now_s = 1_000_000.0
        self.reports: list[Report] = []
        self._builder = StatusBuilder(pod_ip="127.80.1.1", host_ip="127.80.0.1", start_s=self.now_s)

    def begin(self) -> list[str]:
        return self._told(self.machine.begin(self.now_s))

    def spawned(self, name: str) -> list[str]:
        return self._told(self.machine.spawned(name, f"id-{name}", self.now_s))

    def spawn_failed(self, name: str, message: str = "exec: not found") -> list[str]:
        return self._told(self.machine.spawn_failed(name, message, self.now_s))

    def not_created(self, name: str, reason: str, message: str = "m") -> list[str]:
        return self._told(self.machine.not_created(name, reason, message, self.now_s))

    def exited(self, name: str, code: int = 0, signal: int = 0, message: str = "") -> list[str]:
        return self._told(self.machine.exited(name, code, signal, message, self.now_s))

    def probe(self, name: str, kind: ProbeKind, success: bool, incarnation: int = 0) -> list[str]:
        return self._told(self.machine.probe_result(name, incarnation, kind, success, "why", self.now_s))

    def hook_done(self, name: str, hook: str = "preStop", error: str = "") -> list[str]:
        return self._told(self.machine.hook_done(name, hook, error, self.now_s))

    def delete(self, grace_s: float | None = None) -> list[str]:
        return self._told(self.machine.delete(grace_s, self.now_s))

    def after(self, seconds: float) -> list[str]:
        """Let time pass; everything that becomes due meanwhile is done, probes are not answered."""
        until_s, done = self.now_s + seconds, []
        while (at_s := self.machine.next_at()) is not None and at_s <= until_s:
            self.now_s = max(self.now_s, at_s)
            done += self._told(self.machine.tick(self.now_s))
        self.now_s = until_s
        return done

    def status(self) -> PodStatus:
        return self._builder.build(self.machine, self.now_s)

    def container(self, name: str) -> ContainerStatus:
        status = self.status()
        return next(c for c in (*status.init_container_statuses, *status.container_statuses) if c.name == name)

    def condition(self, type_: str) -> str:
        return next(c.status for c in self.status().conditions if c.type == type_)

    def _told(self, actions: list[Action]) -> list[str]:
        self.reports += [action for action in actions if isinstance(action, Report)]
        return [_text(action) for action in actions if not isinstance(action, Report)]


def _text(action: Action) -> str:
    match action:
        case Spawn(name, 0):
            return f"spawn {name}"
        case Spawn(name, count):
            return f"spawn {name} #{count}"
        case Signal(name, number):
            return f"{ {SIGTERM: 'term', SIGKILL: 'kill'}[number] } {name}".replace("{ ", "").replace(" }", "")
        case RunHook(name, hook):
            return f"{hook} {name}"
        case RunProbe(name, _, kind):
            return f"probe {name} {kind.value}"
        case Remove():
            return "remove"
    raise AssertionError(action)
