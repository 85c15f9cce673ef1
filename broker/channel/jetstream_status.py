"""What is written into objects that others write, too: one condition, a channel's subscribers, a finalizer.

Who looks after the object keeps what is not its own and counts it; a write that meets another one is made again.
"""

import time
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec

from kube.client import Client
from kube.errors import NotFound
from kube.models.duck import SubscriberStatus
from kube.models.eventing import Broker, Trigger
from kube.models.messaging import NatsJetStreamChannel
from kube.models.meta import Condition
from kube.timestamps import format_time

__all__ = ["CONSUMER_READY", "STREAM_READY", "set_finalizer", "told"]

STREAM_READY: Final = "StreamReady"
CONSUMER_READY: Final = "ConsumerReady"

R = TypeVar("R", NatsJetStreamChannel, Broker, Trigger)


async def told(
    client: Client,
    obj: R,
    condition: str,
    problem: str,
    *,
    reason: str = "JetStreamFailed",
    subscribers: list[SubscriberStatus] | None = None,
) -> R | None:
    """Say how it is; return the object as it is now, None when it is gone. Raises `Conflict` if it changed meanwhile.

    `problem`: why the condition is not true; empty: it is. `subscribers`: of a channel. Nothing is written that is so.
    """
    patch: dict[str, Any] = {}
    conditions = _with(obj.status.conditions, condition, problem, reason)
    if conditions != obj.status.conditions:
        patch["conditions"] = msgspec.to_builtins(conditions)
    if subscribers is not None and isinstance(obj, NatsJetStreamChannel) and subscribers != obj.status.subscribers:
        patch["subscribers"] = msgspec.to_builtins(subscribers)
    if not patch:
        return obj
    body = {"metadata": {"resourceVersion": obj.metadata.resource_version}, "status": patch}
    try:
        return await client.patch(type(obj), obj.name, obj.namespace, body, subresource="status")
    except NotFound:
        return None


async def set_finalizer(client: Client, obj: R, finalizer: str, *, present: bool) -> R | None:
    """Add it or take it away; return the object as it is now, None when it is gone. Raises `Conflict`."""
    finalizers = [each for each in obj.metadata.finalizers if each != finalizer] + [finalizer] * present
    if (finalizer in obj.metadata.finalizers) == present:
        return obj
    patch = {"metadata": {"finalizers": finalizers, "resourceVersion": obj.metadata.resource_version}}
    try:
        return await client.patch(type(obj), obj.name, obj.namespace, patch)
    except NotFound:
        return None


def _with(conditions: list[Condition], type_: str, problem: str, reason: str) -> list[Condition]:
    """Return the conditions with this one as it is now; the same ones if it was so."""
    held = next((each for each in conditions if each.type == type_), Condition(type="", status=""))
    status, reason = ("False", reason) if problem else ("True", "")
    if (held.status, held.reason, held.message) == (status, reason, problem):
        return conditions
    since = held.last_transition_time if held.status == status else format_time(time.time())
    wanted = Condition(type=type_, status=status, reason=reason, message=problem, last_transition_time=since)
    return sorted([*(each for each in conditions if each.type != type_), wanted], key=attrgetter("type"))
