"""Events about objects, for people (`kubectl describe`): written beside the real work, counted instead of repeated.

Theory of operation. `report` only notes; one task writes. An event that says the same about the same object again
raises the count of the one that is there, which is written at most every `_REPEAT_S`; what repeats sooner is written,
all together, when the time is up. An object about which ever different things are reported gets `_BURST` events at once
and then one in `_REFILL_S`, as with Kubernetes' own recorder; the others are dropped. Everything that is remembered is
bounded.

Best effort, as in Kubernetes: an event that cannot be written is dropped, counted in `dropped`, and said once in the
log until writing works again. Source: client-go `tools/record` (correlator, spam filter).
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from kube.client import Client
from kube.errors import NotFound
from kube.models.core import Event, ObjectReference
from kube.models.meta import ObjectMeta, Resource
from kube.timestamps import format_time
from proxies.logs import Logger

__all__ = ["NORMAL", "WARNING", "EventRecorder"]

NORMAL = "Normal"
WARNING = "Warning"

_QUEUED_MAX = 512
_KNOWN_MAX = 1024
_REPEAT_S = 10.0
"""A repeated event is written at most this often."""
_BURST = 25
_REFILL_S = 300.0
_MESSAGE_MAX = 1024
"""Characters; the API refuses longer ones."""
_CLUSTER_SCOPED_NAMESPACE = "default"


@dataclass(slots=True, eq=False)
class _Entry:
    """One event, and how much of it the API knows."""

    event: Event
    written_s: float = 0.0
    """When it was queued last."""
    written_count: int = 0
    is_created: bool = False


@dataclass(slots=True)
class _Allowance:
    """How many new events an object may still have."""

    left: float
    at_s: float


class EventRecorder:
    """Writes events about objects; `component` and `host` (a pod or node, may be empty) say from whom they are.

    `clock` gives Unix seconds. `report` works in any state; nothing is written before `start`.
    """

    def __init__(
        self, client: Client, *, component: str, clock: Callable[[], float], host: str = "", log: Logger | None = None
    ) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._log = log or Logger("events")
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(_QUEUED_MAX)
        self._known: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._sequence = itertools.count()
        self._late: set[_Entry] = set()
        """Repeated so soon after they were written that the count must wait."""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False
        self.dropped = 0
        """Events that nobody will read: too many, or not to be written."""

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="events")
        self._watch_late()

    async def stop(self) -> None:
        """Stop; what is queued is dropped."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def report(self, about: Resource, type_: str, reason: str, message: str) -> None:
        """Queue an event about `about`, or raise the count of the one that says the same."""
        now_s = self._clock()
        key = (about.kind, about.metadata.uid or f"{about.namespace}/{about.name}", type_, reason, message)
        entry = self._known.pop(key, None)
        if entry is None:
            if not self._allows("/".join(key[:2]), now_s):
                self.dropped += 1
                return
            entry = _Entry(self._event(about, type_, reason, message, now_s))
        self._known[key] = entry
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        entry.event.count += 1
        entry.event.last_timestamp = format_time(now_s)
        if now_s - entry.written_s >= _REPEAT_S:
            self._queue_up(entry, now_s)
        elif len(self._late) < _KNOWN_MAX:
            self._late.add(entry)
            self._watch_late()

    def _queue_up(self, entry: _Entry, now_s: float) -> None:
        self._late.discard(entry)
        if self._queue.full():
            self.dropped += 1
            return
        self._queue.put_nowait(entry)
        entry.written_s = now_s

    def _watch_late(self) -> None:
        if self._late and self._timer is None and self._task is not None:
            self._timer = self._task.get_loop().call_later(_REPEAT_S, self._queue_up_late)

    def _queue_up_late(self) -> None:
        self._timer = None
        now_s = self._clock()
        for entry in [entry for entry in self._late if now_s - entry.written_s >= _REPEAT_S]:
            if entry.event.count > entry.written_count:
                self._queue_up(entry, now_s)
            else:
                self._late.discard(entry)
        self._watch_late()

    def _allows(self, about: str, now_s: float) -> bool:
        """Whether one more new event about this object may be written."""
        allowance = self._allowances.pop(about, None) or _Allowance(_BURST, now_s)
        self._allowances[about] = allowance
        if len(self._allowances) > _KNOWN_MAX:
            self._allowances.popitem(last=False)
        passed_s = max(0.0, now_s - allowance.at_s)
        allowance.left = min(float(_BURST), allowance.left + passed_s / _REFILL_S)
        allowance.at_s = now_s
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True

    def _event(self, about: Resource, type_: str, reason: str, message: str, now_s: float) -> Event:
        return Event(
            metadata=ObjectMeta(
                name=f"{about.name}.{int(now_s * 1e6):x}{next(self._sequence) & 0xFFF:03x}",
                namespace=about.namespace or _CLUSTER_SCOPED_NAMESPACE,
            ),
            involved_object=ObjectReference(
                kind=about.kind,
                namespace=about.namespace,
                name=about.name,
                uid=about.metadata.uid,
                api_version=about.api_version,
                resource_version=about.metadata.resource_version,
            ),
            reason=reason,
            message=message[:_MESSAGE_MAX],
            type=type_,
            first_timestamp=format_time(now_s),
            source={"component": self._component, **({"host": self._host} if self._host else {})},
            reporting_component=self._component,
            reporting_instance=self._host,
        )

    async def _run(self) -> None:
        while True:
            entry = await self._queue.get()
            try:
                await self._write(entry)
            except Exception as error:  # noqa: BLE001 - whatever became of one event, those behind it are written
                self.dropped += 1
                if not self._is_failing:
                    self._is_failing = True
                    self._log.warning("events_not_written", error=str(error), reason=entry.event.reason)
            else:
                self._is_failing = False

    async def _write(self, entry: _Entry) -> None:
        event = entry.event
        count = event.count
        if entry.is_created:
            patch = {"count": count, "lastTimestamp": event.last_timestamp}
            try:
                await self._client.patch(Event, event.name, event.namespace, patch)
            except NotFound:
                # The cluster forgets events after a while; what is reported then begins anew.
                entry.is_created = False
        if not entry.is_created:
            await self._client.create(event)
            entry.is_created = True
        entry.written_count = count
