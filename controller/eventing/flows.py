"""What Sequence and Parallel have in common: channels and Subscriptions as children, and their states in the status.

Source: knative/eventing `pkg/reconciler/{sequence,parallel}`; spec eventing-sources.md 7.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from controller.collection import Collection, happy_condition
from controller.eventing.channel_templates import spec_of
from controller.eventing.children import child_metadata, provide
from controller.eventing.cluster import EventingCluster
from controller.eventing.ducks import ChannelDuck
from controller.eventing.identities import identity_name
from controller.eventing.resolving import delivery_within, within
from kube.conditions import Conditions, ConditionSet
from kube.models.core import ObjectReference
from kube.models.duck import DeliverySpec, Destination, TemplateSpec
from kube.models.eventpolicy import EventPolicy
from kube.models.flows import FlowChannelStatus, FlowSubscriptionStatus
from kube.models.messaging import Subscription
from kube.models.meta import Condition, Resource
from kube.names import child_name

__all__ = ["CONDITIONS", "FlowChildren", "tell_readiness"]

CONDITIONS: Final = ConditionSet(("ChannelsReady", "SubscriptionsReady", "Addressable", "EventPoliciesReady"))
JsonObject = dict[str, Any]


class FlowChildren:
    """Makes the children of one flow and takes away those that are surplus. Raises `NotOwned` and `UnknownKind`."""

    def __init__(self, cluster: EventingCluster, flow: Resource, template: TemplateSpec) -> None:
        self._cluster = cluster
        self._flow = flow
        self._template = template
        self._names: set[str] = set()
        self._policies: set[str] = set()

    async def channel(self, name: str) -> ChannelDuck:
        """A channel from the template."""
        self._names.add(name)
        template = self._template
        collection = await self._cluster.channelables.of(template["apiVersion"], template["kind"])
        wanted: JsonObject = {
            "apiVersion": template["apiVersion"],
            "kind": template["kind"],
            "metadata": child_metadata(self._flow, name),
        }
        if spec := spec_of(template):
            wanted["spec"] = spec
        # What the template says is for the making; a channel's spec does not change afterwards.
        return await provide(collection, self._flow, wanted, fields=("delivery",))

    async def subscription(
        self,
        name: str,
        *,
        channel: str,
        subscriber: Destination,
        reply: Destination | None,
        delivery: DeliverySpec | None = None,
    ) -> Subscription | None:
        """A Subscription of one of the channels; None while the one of another channel has to go first."""
        self._names.add(name)
        flow = self._flow
        spec: JsonObject = {
            "channel": self._reference(channel),
            "subscriber": msgspec.to_builtins(within(subscriber, flow.namespace)),
        }
        if reply is not None:
            spec["reply"] = msgspec.to_builtins(within(reply, flow.namespace))
        if delivery is not None:
            spec["delivery"] = msgspec.to_builtins(delivery_within(delivery, flow.namespace))
        wanted: JsonObject = {
            "apiVersion": Subscription.RESOURCE.api_version,
            "kind": "Subscription",
            "metadata": child_metadata(flow, name),
            "spec": spec,
        }
        held = self._cluster.subscriptions.get(flow.namespace, name)
        if (
            held is not None
            and held.is_controlled_by(flow)
            and msgspec.to_builtins(held.spec.channel) != spec["channel"]
        ):
            await self._cluster.subscriptions.delete(held)
            return None
        return await provide(self._cluster.subscriptions, flow, wanted)

    async def let_send(self, subscription: str, channel: str) -> None:
        """While OIDC is on: let one of the Subscriptions send to one of the channels, and nobody past it.

        A policy for everything in the namespace, or `deny-all`, would keep the events of the flow from going on.
        """
        if not self._cluster.settings.features.is_oidc_on:
            return
        name, flow = child_name(channel, "-kne-sender"), self._flow
        self._policies.add(name)
        account = identity_name(Subscription.RESOURCE, subscription)
        wanted: JsonObject = {
            "apiVersion": EventPolicy.RESOURCE.api_version,
            "kind": "EventPolicy",
            "metadata": child_metadata(flow, name),
            "spec": {
                "from": [{"sub": f"system:serviceaccount:{flow.namespace}:{account}"}],
                "to": [{"ref": self._reference(channel)}],
            },
        }
        await provide(self._cluster.event_policies, flow, wanted)

    def to_channel(self, name: str) -> Destination:
        """One of the channels as a destination."""
        reference = {**self._reference(name), "namespace": self._flow.namespace}
        return msgspec.convert({"ref": reference}, Destination)

    async def remove_surplus(self) -> None:
        """Delete children that no step or branch needs any more, and channels of the kind that the template had."""
        cluster, template = self._cluster, self._template
        channels = await cluster.channelables.of(template["apiVersion"], template["kind"])
        wanted: dict[Collection[Any], set[str]] = {
            cluster.in_memory_channels: set(),
            cluster.jetstream_channels: set(),
            cluster.subscriptions: self._names,
            cluster.event_policies: self._policies,
            channels: self._names,
        }
        for collection, names in wanted.items():
            listed: Iterable[Resource] = collection.informer.list(self._flow.namespace)
            for child in listed:
                if child.name not in names and child.is_controlled_by(self._flow):
                    await collection.delete(child)

    def _reference(self, name: str) -> JsonObject:
        return {"apiVersion": self._template["apiVersion"], "kind": self._template["kind"], "name": name}


def channel_status(channel: ChannelDuck) -> FlowChannelStatus:
    """One channel for a flow's status."""
    return FlowChannelStatus(channel=_named(channel), ready=_ready(channel, channel.status.conditions))


def subscription_status(subscription: Subscription | None, name: str, namespace: str) -> FlowSubscriptionStatus:
    """One Subscription for a flow's status; None: it is being replaced."""
    if subscription is None:
        info = Subscription.RESOURCE
        named = ObjectReference(api_version=info.api_version, kind=info.kind, name=name, namespace=namespace)
        return FlowSubscriptionStatus(subscription=named, ready=Condition(type="Ready"))
    return FlowSubscriptionStatus(
        subscription=_named(subscription), ready=_ready(subscription, subscription.status.conditions)
    )


def tell_readiness(
    conditions: Conditions,
    channels: Sequence[FlowChannelStatus],
    subscriptions: Sequence[FlowSubscriptionStatus],
) -> None:
    """All of them have to be ready; the first that is not is the reason."""
    for type_, what, found in (
        ("ChannelsReady", "Channel", [(each.channel, each.ready) for each in channels]),
        ("SubscriptionsReady", "Subscription", [(each.subscription, each.ready) for each in subscriptions]),
    ):
        waiting = [(named, ready) for named, ready in found if ready is None or ready.status != "True"]
        if not waiting:
            conditions.mark_true(type_)
            continue
        named, ready = waiting[0]
        reason = (ready.reason if ready is not None else "") or f"{what}NotReady"
        text = f"{what} {named.name} is not ready: {ready.message if ready is not None else 'not reconciled yet'}"
        if ready is not None and ready.status == "False":
            conditions.mark_false(type_, reason, text)
        else:
            conditions.mark_unknown(type_, reason, text)


def _named(obj: Resource) -> ObjectReference:
    return ObjectReference(api_version=obj.api_version, kind=obj.kind, name=obj.name, namespace=obj.namespace)


def _ready(obj: Any, conditions: list[Condition]) -> Condition | None:
    if obj.status.observed_generation != obj.metadata.generation:
        return Condition(type="Ready", reason="NotReconciled", message="its newest generation was not looked at yet")
    return happy_condition(obj.status) if conditions else None
