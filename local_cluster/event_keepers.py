"""Who keeps the dead letters of a Trigger or a Subscription: which process of the stack, and under which uid."""

from typing import NamedTuple, TypeVar

from kube.client import Client
from kube.errors import NotFound
from kube.models.eventing import Broker, Trigger
from kube.models.messaging import Channel, Subscription
from kube.models.meta import Resource
from local_cluster.cli import Failure

__all__ = ["Keeper", "keepers_of_subscription", "keepers_of_trigger"]

R = TypeVar("R", bound=Resource)

_TRIGGER_LABEL = "eventing.knative.dev/trigger"
_DIRECT_CLASS = "JetStreamBroker"
_COMPONENTS = {"NatsJetStreamChannel": "jetstream"}
"""Kind of channel -> who delivers its events; of all others the dispatcher."""


class Keeper(NamedTuple):
    """One place."""

    component: str
    uid: str


async def keepers_of_trigger(client: Client, namespace: str, name: str) -> list[Keeper]:
    """Where a Trigger's dead letters are. Raises `Failure`."""
    trigger = await _get(client, Trigger, namespace, name)
    try:
        broker = await client.get(Broker, trigger.broker_key[1], trigger.broker_key[0])
    except NotFound:
        broker = None
    if broker is not None and broker.broker_class == _DIRECT_CLASS:
        return [Keeper("filter", trigger.metadata.uid)]
    found = await client.list(Subscription, namespace, label_selector=f"{_TRIGGER_LABEL}={name}")
    if not found.items:
        raise Failure(f'trigger "{name}" in namespace "{namespace}" has no Subscription, so nothing is kept for it')
    return [await _keeper(client, each) for each in found.items]


async def keepers_of_subscription(client: Client, namespace: str, name: str) -> list[Keeper]:
    """Where a Subscription's dead letters are. Raises `Failure`."""
    return [await _keeper(client, await _get(client, Subscription, namespace, name))]


async def _keeper(client: Client, subscription: Subscription) -> Keeper:
    reference = subscription.spec.channel
    kind = reference.kind
    if kind == Channel.RESOURCE.kind:
        # What stands behind it has its name.
        channel = await _get(client, Channel, subscription.namespace, reference.name)
        behind = channel.status.channel
        kind = behind.kind if behind is not None else ""
    return Keeper(_COMPONENTS.get(kind, "dispatcher"), subscription.metadata.uid)


async def _get(client: Client, shape: type[R], namespace: str, name: str) -> R:
    kind = shape.RESOURCE.kind.lower()
    try:
        return await client.get(shape, name, namespace)
    except NotFound:
        raise Failure(f'no {kind} "{name}" in namespace "{namespace}"; `knuv get {kind}s -A` lists them') from None
