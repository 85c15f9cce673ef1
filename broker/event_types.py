"""EventTypes made from traffic: one for each type and source that a Broker sees, in the background.

Nothing depends on it: what cannot be made now is made with the next such event. Source: knative/eventing
`pkg/eventtype/eventtypes.go`; spec eventing-broker.md 5.7.
"""

import asyncio
import hashlib
from typing import Final

from eventing.filters.dialects import Attributes
from kube.client import Client
from kube.errors import AlreadyExists, ApiError, ApiUnreachable
from kube.models.duck import KReference
from kube.models.eventing import EventAttribute, EventType, EventTypeSpec
from kube.models.meta import ObjectMeta
from proxies.logs import Logger

__all__ = ["EventTypes", "event_type"]

_KNOWN_MAX: Final = 10_000
"""Types and sources are chosen by producers: beyond it all are asked for again."""
_AT_ONCE_MAX: Final = 16
_RECORDED: Final = (
    ("type", "type"),
    ("source", "source"),
    ("schemadata", "dataschema"),
    ("specversion", "specversion"),
    ("id", "id"),
)
"""Names in the EventType, and of the event's attributes."""


class EventTypes:
    """Makes them for one process."""

    def __init__(self, client: Client, log: Logger) -> None:
        self._client = client
        self._log = log
        self._known: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def saw(self, namespace: str, broker: str, attributes: Attributes) -> None:
        """A Broker took an event in."""
        name = _name(namespace, broker, attributes)
        if name in self._known or len(self._tasks) >= _AT_ONCE_MAX:
            return
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known.add(name)
        task = asyncio.get_running_loop().create_task(self._create(event_type(namespace, broker, attributes)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Make no more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _create(self, wanted: EventType) -> None:
        try:
            await self._client.create(wanted)
        except AlreadyExists:
            return
        except (ApiError, ApiUnreachable) as error:
            self._known.discard(wanted.name)
            self._log.warning("event_type_not_made", event_type=f"{wanted.namespace}/{wanted.name}", problem=str(error))


def event_type(namespace: str, broker: str, attributes: Attributes) -> EventType:
    """Return the EventType of such events at a Broker."""
    return EventType(
        metadata=ObjectMeta(name=_name(namespace, broker, attributes), namespace=namespace),
        spec=EventTypeSpec(
            reference=KReference(
                api_version="eventing.knative.dev/v1", kind="Broker", name=broker, namespace=namespace
            ),
            description="Made from an event.",
            attributes=[
                EventAttribute(name=name, required=True, value=str(attributes[attribute]))
                for name, attribute in _RECORDED
                if attribute in attributes
            ],
        ),
    )


def _name(namespace: str, broker: str, attributes: Attributes) -> str:
    text = f"{attributes['type']}{attributes['source']}{namespace}{broker}"
    return f"et-{broker}-{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}"
