"""Subscription: resolves who gets a channel's events, and writes that into the channel.

Ready when the channel's dispatcher has told of this very generation. Source: knative/eventing
`pkg/reconciler/subscription/subscription.go`; spec eventing-channels.md 7, statements 56-60.
"""

from dataclasses import dataclass

import msgspec

from controller.collection import Collection, Reconciler
from controller.eventing.cluster import EventingCluster
from controller.eventing.ducks import ChannelDuck, UnknownKind, UnlistedKind
from controller.eventing.identities import provide_identity
from controller.eventing.resolving import Unresolved
from controller.eventing.subscribers import SubscriberLists
from kube.conditions import Conditions, ConditionSet
from kube.errors import Conflict
from kube.events import WARNING
from kube.models import messaging
from kube.models.duck import Addressable, DeliverySpec, Destination, KReference, SubscriberSpec
from kube.models.messaging import PhysicalSubscription, Subscription, SubscriptionStatus

__all__ = ["SubscriptionReconciler", "effective_delivery"]

CONDITIONS = ConditionSet(("ReferencesResolved", "AddedToChannel", "ChannelReady", "OIDCIdentityCreated"))
_RETRY_S = 30.0


class NotReferred(Exception):
    """A reference leads nowhere; `reason` is the condition's."""

    def __init__(self, reason: str, message: str, *, again_s: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.again_s = again_s


@dataclass(frozen=True, slots=True)
class _Channel:
    """The channel that is operated on: that of a `Channel` is the one behind it."""

    collection: Collection[ChannelDuck]
    obj: ChannelDuck


class SubscriptionReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster, lists: SubscriberLists) -> None:
        self._cluster = cluster
        self._lists = lists

    def reconciler(self) -> Reconciler[Subscription]:
        """The envelope for this kind."""
        return Reconciler(
            self._cluster.subscriptions,
            CONDITIONS,
            self.reconcile,
            self._cluster.now_s,
            finalize=self.finalize,
            guards_status=True,
        )

    async def reconcile(
        self, subscription: Subscription, status: SubscriptionStatus, conditions: Conditions
    ) -> float | None:
        """One pass. What was written into the channel before stays while a reference leads nowhere."""
        try:
            channel = await self._channel(subscription)
            physical = await self._physical(subscription, channel.obj)
        except NotReferred as error:
            conditions.mark_false("ReferencesResolved", error.reason, str(error))
            return error.again_s
        status.physical_subscription = physical
        conditions.mark_true("ReferencesResolved")
        status.auth = await provide_identity(self._cluster, subscription, status.auth, conditions)
        entry = entry_of(subscription, channel.obj, status)
        await self._lists.put(channel.collection, channel.obj, entry)
        conditions.mark_true("AddedToChannel")
        current = channel.collection.get(*channel.obj.key) or channel.obj
        _mark_acknowledged(subscription, current, conditions)
        return None

    async def finalize(self, subscription: Subscription) -> None:
        """Take the entry out of the channel, if that is still there.

        Raises `Conflict` while nobody knows whether it is: an entry that stayed would be delivered to for ever.
        """
        try:
            # An entry in another namespace is taken out although such links may be forbidden by now.
            channel = await self._channel(subscription, may_cross=True)
        except NotReferred as error:
            cause, kinds = error.__cause__, self._cluster.channelables
            if isinstance(cause, UnlistedKind) and await kinds.is_served(cause.api_version, cause.kind):
                self._cluster.events.report(subscription, WARNING, "ChannelNotListed", str(error))
                raise Conflict(409, "NotListed", str(error)) from error
            return
        await self._lists.remove(channel.collection, channel.obj, subscription.metadata.uid)

    async def _channel(self, subscription: Subscription, *, may_cross: bool = False) -> _Channel:
        """`may_cross`: into another namespace whatever the settings say. Raises `NotReferred`."""
        ref = subscription.spec.channel
        namespace = ref.namespace or subscription.namespace
        may_cross = may_cross or self._cluster.settings.features.has_cross_namespace_links
        if namespace != subscription.namespace and not may_cross:
            text = f"Failed to get spec.channel or backing channel: {namespace} is another namespace"
            raise NotReferred("ChannelReferenceFailed", text)
        if (ref.api_version.partition("/")[0], ref.kind) == (messaging.GROUP, "Channel"):
            ref = self._backing(ref, namespace)
        try:
            collection = await self._cluster.channelables.of(ref.api_version, ref.kind)
        except UnknownKind as error:
            raise NotReferred(
                "ChannelReferenceFailed", f"Failed to get spec.channel or backing channel: {error}", again_s=_RETRY_S
            ) from error
        found = collection.get(namespace, ref.name)
        if found is None:
            what = f'{collection.kind.RESOURCE.plural} "{ref.name}"'
            raise NotReferred(
                "ChannelReferenceFailed", f"Failed to get spec.channel or backing channel: {what} not found"
            )
        return _Channel(collection, found)

    def _backing(self, ref: KReference, namespace: str) -> KReference:
        channel = self._cluster.channels.get(namespace, ref.name)
        if channel is None:
            text = f'Failed to get spec.channel or backing channel: channels "{ref.name}" not found'
            raise NotReferred("ChannelReferenceFailed", text)
        if channel.status.channel is None:
            text = "Failed to get spec.channel or backing channel: the Channel has no channel behind it yet"
            raise NotReferred("ChannelReferenceFailed", text)
        return channel.status.channel

    async def _physical(self, subscription: Subscription, channel: ChannelDuck) -> PhysicalSubscription:
        """All addresses. Raises `NotReferred`."""
        spec = subscription.spec
        subscriber = await self._resolve(subscription, spec.subscriber, "SubscriberResolveFailed", "spec.subscriber")
        reply = await self._resolve(subscription, spec.reply, "ReplyResolveFailed", "spec.reply")
        sink = await self._resolve(
            subscription,
            spec.delivery.dead_letter_sink if spec.delivery is not None else None,
            "DeadLetterSinkResolveFailed",
            "spec.delivery.deadLetterSink",
        )
        if not sink.url and channel.status.dead_letter_sink_uri is not None:
            sink = Addressable(
                url=channel.status.dead_letter_sink_uri,
                ca_certs=channel.status.dead_letter_sink_ca_certs,
                audience=channel.status.dead_letter_sink_audience,
            )
        return PhysicalSubscription(
            subscriber_uri=subscriber.url or None,
            subscriber_ca_certs=subscriber.ca_certs,
            subscriber_audience=subscriber.audience,
            reply_uri=reply.url or None,
            reply_ca_certs=reply.ca_certs,
            reply_audience=reply.audience,
            dead_letter_sink_uri=sink.url or None,
            dead_letter_sink_ca_certs=sink.ca_certs,
            dead_letter_sink_audience=sink.audience,
        )

    async def _resolve(
        self, subscription: Subscription, destination: Destination | None, reason: str, what: str
    ) -> Addressable:
        """The address; an empty one for nobody. Raises `NotReferred`."""
        if destination is None or (destination.ref is None and not destination.uri):
            return Addressable()
        try:
            return await self._cluster.references.resolve(destination, subscription.namespace)
        except Unresolved as error:
            again_s = _RETRY_S if error.is_transient else None
            raise NotReferred(reason, f"Failed to resolve {what}: {error}", again_s=again_s) from error


def entry_of(subscription: Subscription, channel: ChannelDuck, status: SubscriptionStatus) -> SubscriberSpec:
    """The Subscription as the channel's dispatcher gets it."""
    physical = status.physical_subscription
    return SubscriberSpec(
        uid=subscription.metadata.uid,
        name=subscription.name,
        generation=subscription.metadata.generation,
        subscriber_uri=physical.subscriber_uri,
        subscriber_ca_certs=physical.subscriber_ca_certs,
        subscriber_audience=physical.subscriber_audience,
        reply_uri=physical.reply_uri,
        reply_ca_certs=physical.reply_ca_certs,
        reply_audience=physical.reply_audience,
        delivery=effective_delivery(subscription.spec.delivery, channel.spec.delivery, physical),
        auth=status.auth,
    )


def effective_delivery(
    own: DeliverySpec | None, channels: DeliverySpec | None, physical: PhysicalSubscription
) -> DeliverySpec | None:
    """A Subscription's delivery or else its channel's, never mixed; but the dead letter sink is whichever there is.

    `format` is nobody's but the broker's filter's (spec eventing-broker.md 7.5), so it is left out.
    """
    chosen = own if own is not None else channels
    sink = None
    if physical.dead_letter_sink_uri is not None:
        sink = Destination(
            uri=physical.dead_letter_sink_uri,
            ca_certs=physical.dead_letter_sink_ca_certs,
            audience=physical.dead_letter_sink_audience,
        )
    if chosen is None:
        return DeliverySpec(dead_letter_sink=sink) if sink is not None else None
    return msgspec.structs.replace(chosen, dead_letter_sink=sink, format=None)


def _mark_acknowledged(subscription: Subscription, channel: ChannelDuck, conditions: Conditions) -> None:
    """`ChannelReady`: what the dispatcher says of this Subscription at this generation."""
    told = next((each for each in channel.status.subscribers if each.uid == subscription.metadata.uid), None)
    if told is None or told.observed_generation != subscription.metadata.generation:
        text = "Subscription not marked ready by channel: it has not told of this generation yet"
        conditions.mark_unknown("ChannelReady", "SubscriptionNotMarkedReadyByChannel", text)
    elif told.ready == "True":
        conditions.mark_true("ChannelReady")
    elif told.ready == "False":
        text = told.message or "the channel did not say why"
        conditions.mark_false("ChannelReady", "SubscriptionNotMarkedReadyByChannel", text)
    else:
        conditions.mark_unknown("ChannelReady", "SubscriptionNotMarkedReadyByChannel", told.message)
