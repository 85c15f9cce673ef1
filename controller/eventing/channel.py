"""Channel: a channel of the kind that its template names, of the same name, whose status becomes its own.

Source: knative/eventing `pkg/reconciler/channel/channel.go`; spec eventing-channels.md 6.5.
"""

from typing import Any

import msgspec

from controller.collection import Reconciler
from controller.eventing.addresses import apply_policies, mark_no_sink
from controller.eventing.channel_templates import spec_of
from controller.eventing.children import NotOwned, child_metadata, provide
from controller.eventing.cluster import EventingCluster
from controller.eventing.ducks import ChannelDuck, UnknownKind
from controller.eventing.propagation import copy_condition, propagate
from kube.conditions import Conditions, ConditionSet
from kube.models.duck import KReference
from kube.models.messaging import Channel, ChannelStatus

__all__ = ["ChannelReconciler"]

CONDITIONS = ConditionSet(("BackingChannelReady", "Addressable", "DeadLetterSinkResolved", "EventPoliciesReady"))
_RETRY_S = 30.0


class ChannelReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[Channel]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.channels, CONDITIONS, self.reconcile, self._cluster.now_s, guards_status=True)

    async def reconcile(self, channel: Channel, status: ChannelStatus, conditions: Conditions) -> float | None:
        """One pass."""
        apply_policies(self._cluster, channel, status, conditions)
        template = channel.spec.channel_template
        if template is None:
            conditions.mark_false("BackingChannelReady", "NoTemplate", "spec.channelTemplate is missing")
            return None
        try:
            collection = await self._cluster.channelables.of(template["apiVersion"], template["kind"])
            backing: ChannelDuck = await provide(
                collection, channel, backing_of(channel, template), fields=("delivery",)
            )
        except (NotOwned, UnknownKind) as error:
            conditions.mark_false("BackingChannelReady", "ChannelFailure", str(error))
            return _RETRY_S
        status.channel = KReference(
            api_version=template["apiVersion"], kind=template["kind"], name=backing.name, namespace=backing.namespace
        )
        _copy(backing, status, conditions)
        return None


def backing_of(channel: Channel, template: dict[str, Any]) -> dict[str, Any]:
    """The channel behind as it should be."""
    spec = spec_of(template)
    if channel.spec.delivery is not None:
        spec["delivery"] = msgspec.to_builtins(channel.spec.delivery)
    found = {
        "apiVersion": template["apiVersion"],
        "kind": template["kind"],
        "metadata": child_metadata(channel, channel.name, annotations=_inherited(channel)),
    }
    return {**found, "spec": spec} if spec else found


def _inherited(channel: Channel) -> dict[str, str]:
    """Annotations that say how the channel is to work: those of messaging, and where its dispatcher is."""
    return {
        key: text
        for key, text in channel.metadata.annotations.items()
        if key.startswith(("messaging.knative.dev/", "eventing.knative.dev/scope"))
    }


def _copy(backing: ChannelDuck, status: ChannelStatus, conditions: Conditions) -> None:
    found = backing.status
    propagate(
        conditions,
        "BackingChannelReady",
        backing,
        reason="BackingChannelNotConfigured",
        message="Backing Channel has not yet been reconciled.",
    )
    status.subscribers = found.subscribers
    status.address, status.addresses = found.address, found.addresses
    if found.address is not None and found.address.url:
        conditions.mark_true("Addressable")
    else:
        conditions.mark_false("Addressable", "EmptyHostname", "hostname is the empty string")
    status.dead_letter_sink_uri = found.dead_letter_sink_uri
    status.dead_letter_sink_ca_certs = found.dead_letter_sink_ca_certs
    status.dead_letter_sink_audience = found.dead_letter_sink_audience
    told = next((each for each in found.conditions if each.type == "DeadLetterSinkResolved"), None)
    if told is None or told.reason == "DeadLetterSinkNotConfigured":
        mark_no_sink(conditions)
    else:
        copy_condition(conditions, "DeadLetterSinkResolved", told)
