"""Events about pods, for people (`kubectl describe`): written beside the real work, counted instead of repeated.

Best effort, as in Kubernetes: an event that cannot be written is dropped.
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable
from kube.models.core import Event, ObjectReference
from kube.models.meta import ObjectMeta, Resource
from kube.timestamps import format_time

__all__ = ["EventRecorder"]

_QUEUED_MAX = 512
_KNOWN_MAX = 1024
_REPEAT_S = 10.0
"""A repeated event is written at most this often."""


@dataclass(slots=True)
class _Entry:
    event: Event
    written_s: float = 0.0
    is_created: bool = False


class EventRecorder:
    """Writes events about objects; `component` and `host` say from whom they are."""

    def __init__(self, client: Client, *, component: str, host: str, clock: Callable[[], float]) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(_QUEUED_MAX)
        self._known: OrderedDict[tuple[str, str, str], _Entry] = OrderedDict()
        self._sequence = itertools.count()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="events")

    async def stop(self) -> None:
        """Stop; what is queued is dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def report(self, about: Resource, type_: str, reason: str, message: str) -> None:
        """Queue an event about `about`, or raise the count of the one that says the same."""
        now_s = self._clock()
        key = (about.metadata.uid, reason, message)
        entry = self._known.pop(key, None) or _Entry(self._event(about, type_, reason, message, now_s))
        self._known[key] = entry
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        entry.event.count += 1
        entry.event.last_timestamp = format_time(now_s)
        if now_s - entry.written_s >= _REPEAT_S and not self._queue.full():
            self._queue.put_nowait(entry)
            entry.written_s = now_s

    def _event(self, about: Resource, type_: str, reason: str, message: str, now_s: float) -> Event:
        return Event(
            metadata=ObjectMeta(
                name=f"{about.name}.{int(now_s * 1e6):x}{next(self._sequence) & 0xFFF:03x}", namespace=about.namespace
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
            message=message[:1024],
            type=type_,
            first_timestamp=format_time(now_s),
            source={"component": self._component, "host": self._host},
            reporting_component=self._component,
            reporting_instance=self._host,
        )

    async def _run(self) -> None:
        while True:
            entry = await self._queue.get()
            event = entry.event
            try:
                if entry.is_created:
                    patch = {"count": event.count, "lastTimestamp": event.last_timestamp}
                    await self._client.patch(Event, event.name, event.namespace, patch)
                else:
                    await self._client.create(event)
                    entry.is_created = True
            except (ApiError, ApiUnreachable):
                continue
