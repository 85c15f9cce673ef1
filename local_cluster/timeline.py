"""One cold start, phase by phase, put together from the events that the components logged.

All processes of a local stack share one clock, so Unix times of different logs can be subtracted. The phases follow the
request: gateway, activator, stat push, decision, scale patch, pod seen by the node, processes spawned, app listening,
queue-proxy's first good probe, capacity at the activator, first byte at the client.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kube.timestamps import parse_time_s

__all__ = ["ColdStart", "Phase", "assemble", "read_events"]

EVENTS = frozenset(
    {"cold_start_released", "scale_applied", "container_started", "listening", "app_ready", "pod_ready"},
)
_TAIL_BYTES = 1 << 20
"""Read from the end of each log; a cold start's own events are the newest."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the way; `ours` is False for the process spawn and the app's own boot."""

    name: str
    seconds: float
    ours: bool = True


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One request that met no pods. Times in seconds."""

    total_s: float
    phases: tuple[Phase, ...] = field(default=())
    missing: tuple[str, ...] = field(default=())
    """Events that were not found; the phases between their neighbours are then one."""

    @property
    def app_s(self) -> float:
        """Process spawn and the app's own boot."""
        return sum(phase.seconds for phase in self.phases if not phase.ours)

    @property
    def ours_s(self) -> float:
        """Everything else: the share that this project answers for."""
        return self.total_s - self.app_s


def read_events(state_dir: Path, since: float) -> list[dict[str, Any]]:
    """Events of cold starts in the stack's logs, not older than `since` (Unix seconds), in no particular order."""
    events = []
    for path in _logs(state_dir / "logs"):
        for line in _tail(path):
            # Pods' lines have the node's timestamp and stream in front.
            start = line.find(b"{")
            if start >= 0:
                events += [event for event in _parsed(line[start:], path) if event["logged"] >= since]
    return events


def assemble(events: Iterable[dict[str, Any]], *, revision: str, sent: float, first_byte: float) -> ColdStart:
    """The phases of the request for `revision` that was sent at `sent` and answered at `first_byte` (Unix seconds)."""
    of_revision = [event for event in events if _concerns(event, revision)]
    pod = next((event["pod"] for event in of_revision if event["message"] == "container_started"), None)
    marks = [
        ("gateway", _first(of_revision, "request", "start")),
        ("activator", _first(of_revision, "cold_start_released", "first_arrived")),
        ("stat push", _first(of_revision, "scale_applied", "stat_received")),
        ("decision", _first(of_revision, "scale_applied", "decided")),
        ("scale patch", _first(of_revision, "scale_applied", "patched")),
        ("pod seen by the node", _first(of_revision, "container_started", "pod_seen")),
        ("process spawn", _first(_user(of_revision), "container_started", "spawned")),
        ("app boot", _first([e for e in of_revision if e.get("pod_dir") == pod], "listening", "at", app=True)),
        ("queue-proxy ready", _first([e for e in of_revision if e.get("pod") == pod], "app_ready", "at")),
        ("capacity at the activator", _first(of_revision, "cold_start_released", "capacity_at")),
        ("first byte", first_byte),
    ]
    phases = []
    at = sent
    for name, mark in marks:
        if mark is None:
            continue
        # Two components may note the same instant in either order; a phase is never negative.
        phases.append(Phase(name, max(0.0, mark - at), ours=name not in ("process spawn", "app boot")))
        at = max(at, mark)
    return ColdStart(first_byte - sent, tuple(phases), tuple(name for name, mark in marks if mark is None))


def _logs(folder: Path) -> Iterator[Path]:
    # `os.walk` passes over folders that vanish meanwhile: a pod's logs go when the pod does.
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names if name.endswith(".log"))


def _tail(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            return log.read().splitlines()
    except FileNotFoundError:
        return []  # the pod's log went with the pod


def _parsed(line: bytes, path: Path) -> Iterator[dict[str, Any]]:
    try:
        event = json.loads(line)
    except ValueError:
        return
    if not isinstance(event, dict):
        return
    if "authority" in event and "start_time" in event:
        start = parse_time_s(str(event["start_time"]))
        yield {**event, "message": "request", "start": start, "logged": start}
    elif event.get("message") in EVENTS:
        logged = event.get("at") or parse_time_s(str(event.get("timestamp")))
        # <state>/logs/pods/<namespace>_<pod>_<uid>/<container>/<n>.log
        pod_dir = path.parent.parent.name.split("_")
        yield {**event, "logged": float(logged), "pod_dir": pod_dir[1] if len(pod_dir) == 3 else None}


def _concerns(event: dict[str, Any], revision: str) -> bool:
    if event["message"] == "request":
        return True
    if event.get("revision"):
        return bool(event["revision"] == revision)
    pod = str(event.get("pod") or event.get("pod_dir") or "")
    return pod.startswith(f"{revision}-deployment-")


def _user(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event.get("container") != "queue-proxy"]


def _first(events: list[dict[str, Any]], message: str, key: str, *, app: bool = False) -> float | None:
    times = [
        float(event[key])
        for event in events
        if event["message"] == message and event.get(key) is not None and (not app or "logger" not in event)
    ]
    return min(times, default=None)
