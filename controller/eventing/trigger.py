"""Trigger: a Subscription of the Broker's channel whose subscriber is the filter, and whose reply is the Broker.

Source: knative/eventing `pkg/reconciler/broker/trigger/trigger.go`; spec eventing-broker.md 6.1, 7, 11.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from controller.collection import Reconciler
from controller.eventing import keys
from controller.eventing.addresses import mark_no_sink, resolve_dead_letter_sink, set_sink
from controller.eventing.broker import mirror
from controller.eventing.children import NotOwned, child_metadata, provide
from controller.eventing.cluster import EventingCluster
from controller.eventing.identities import provide_identity
from controller.eventing.propagation import propagate
from controller.eventing.resolving import Unresolved, delivery_within
from eventing.features import TransportEncryption
from kube.conditions import Conditions, ConditionSet
from kube.models.duck import Addressable, KReference
from kube.models.eventing import Broker, Trigger, TriggerStatus
from kube.models.messaging import Subscription

__all__ = ["TriggerReconciler", "dependency_of", "subscription_name"]

JsonObject = dict[str, Any]

CONDITIONS = ConditionSet(
    (
        "BrokerReady",
        "SubscriptionReady",
        "DependencyReady",
        "SubscriberResolved",
        "DeadLetterSinkResolved",
        "OIDCIdentityCreated",
    )
)
_FILTER_TLS_SECRET = "mt-broker-filter-server-tls"  # noqa: S105 - a name
_NAME_MAX = 63
_OWNER = "owner"
"""Index of Subscriptions by the uid of who controls them."""
_RETRY_S = 30.0


class TriggerReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster
        cluster.subscriptions.informer.add_index(_OWNER, _owner_of)

    def reconciler(self) -> Reconciler[Trigger]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.triggers, CONDITIONS, self.reconcile, self._cluster.now_s, guards_status=True)

    async def reconcile(self, trigger: Trigger, status: TriggerStatus, conditions: Conditions) -> float | None:
        """One pass. Until the Broker is ready there is nothing to subscribe to.

        The identity comes first: a policy that names this Trigger may be what the Broker waits for.
        """
        status.auth = await provide_identity(self._cluster, trigger, status.auth, conditions)
        await self._unsubscribe_elsewhere(trigger)
        broker = self._broker(trigger)
        if broker is None:
            text = f'Broker "{trigger.broker_key[1]}" does not exist'
            conditions.mark_false("BrokerReady", "BrokerDoesNotExist", text)
            return None
        propagate(
            conditions,
            "BrokerReady",
            broker,
            reason="BrokerNotConfigured",
            message="Broker has not yet been reconciled.",
        )
        if not conditions.is_true("BrokerReady"):
            return None
        again_s = await self._resolve(trigger, broker, status, conditions)
        if status.subscriber_uri is not None:
            again_s = await self._subscribe(trigger, broker, conditions) or again_s
        return await self._check_dependency(trigger, conditions) or again_s

    def _broker(self, trigger: Trigger) -> Broker | None:
        namespace, name = trigger.broker_key
        if namespace != trigger.namespace and not self._cluster.settings.features.has_cross_namespace_links:
            return None
        return self._cluster.brokers.get(namespace, name)

    async def _resolve(
        self, trigger: Trigger, broker: Broker, status: TriggerStatus, conditions: Conditions
    ) -> float | None:
        """Find subscriber and dead letter sink; without a sink of its own a Trigger has its Broker's."""
        again_s = None
        try:
            found = await self._cluster.references.resolve(trigger.spec.subscriber, trigger.namespace)
        except Unresolved as error:
            status.subscriber_uri = status.subscriber_ca_certs = status.subscriber_audience = None
            conditions.mark_false("SubscriberResolved", "Unable to get the Subscriber's URI", str(error))
            conditions.mark_unknown("SubscriptionReady", "SubscriberNotResolved", "there is nobody to subscribe")
            again_s = _RETRY_S if error.is_transient else None
        else:
            status.subscriber_uri = found.url
            status.subscriber_ca_certs, status.subscriber_audience = found.ca_certs, found.audience
            conditions.mark_true("SubscriberResolved")
        delivery = trigger.spec.delivery
        if delivery is not None and delivery.dead_letter_sink is not None:
            waits_s = await resolve_dead_letter_sink(self._cluster, delivery, trigger.namespace, status, conditions)
            return waits_s or again_s
        if (url := broker.status.dead_letter_sink_uri) is not None:
            sink = Addressable(
                url=url,
                ca_certs=broker.status.dead_letter_sink_ca_certs,
                audience=broker.status.dead_letter_sink_audience,
            )
            set_sink(status, sink)
            conditions.mark_true("DeadLetterSinkResolved")
        else:
            set_sink(status, None)
            mark_no_sink(conditions)
        return again_s

    async def _subscribe(self, trigger: Trigger, broker: Broker, conditions: Conditions) -> float | None:
        cluster = self._cluster
        if broker.broker_class == keys.JETSTREAM_BROKER:
            mirror(conditions, "ConsumerReady", "SubscriptionReady", "the filter has not told of the consumer yet")
            return None
        wanted = self.subscription_of(trigger, broker)
        try:
            held = cluster.subscriptions.get(trigger.namespace, wanted["metadata"]["name"])
            if held is not None and held.is_controlled_by(trigger) and _is_elsewhere(held, wanted):
                # A Subscription's channel never changes, so that the Broker's new channel needs a new one.
                await cluster.subscriptions.delete(held)
                conditions.mark_unknown("SubscriptionReady", "Replacing", "the Broker has another channel")
                return None
            subscription = await provide(cluster.subscriptions, trigger, wanted, annotations=keys.JETSTREAM_PREFIX)
        except NotOwned as error:
            conditions.mark_false("SubscriptionReady", "NotSubscribed", str(error))
            return _RETRY_S
        propagate(
            conditions,
            "SubscriptionReady",
            subscription,
            reason="SubscriptionNotConfigured",
            message="Subscription has not yet been reconciled.",
        )
        return None

    async def _unsubscribe_elsewhere(self, trigger: Trigger) -> None:
        """`brokerRef` may change (spec 8.5): the Broker that it named before is not to deliver any more."""
        name = subscription_name(trigger)
        for held in self._cluster.subscriptions.informer.by_index(_OWNER, trigger.metadata.uid):
            if held.name != name and held.metadata.deletion_timestamp is None:
                await self._cluster.subscriptions.delete(held)

    def subscription_of(self, trigger: Trigger, broker: Broker) -> JsonObject:
        """The Subscription as it should be. With OIDC the filter stands between, so that it is asked for its token."""
        features = self._cluster.settings.features
        is_secure = features.transport_encryption is TransportEncryption.STRICT
        host = self._cluster.host_of(keys.FILTER)
        url = f"{'https' if is_secure else 'http'}://{host}/triggers/{trigger.namespace}/{trigger.name}/{trigger.metadata.uid}"
        filter_ = {
            "uri": url,
            "CACerts": self._cluster.ca_of(_FILTER_TLS_SECRET) if is_secure else None,
            "audience": keys.FILTER_AUDIENCE if features.is_oidc_on else None,
        }
        address = broker.status.address or Addressable()
        reply = {"uri": address.url, "CACerts": address.ca_certs, "audience": address.audience}
        own = delivery_within(trigger.spec.delivery, trigger.namespace)
        delivery = own if own is not None else delivery_within(broker.spec.delivery, broker.namespace)
        spec: JsonObject = {
            "channel": _channel_of(trigger, broker),
            "subscriber": _filled(filter_),
            "reply": _filled(reply),
        }
        if delivery is not None:
            spec["delivery"] = msgspec.to_builtins(delivery)
        if features.is_oidc_on:
            spec["reply"] = _filled({**filter_, "uri": f"{url}/reply"})
            if delivery is not None and delivery.dead_letter_sink is not None:
                spec["delivery"]["deadLetterSink"] = _filled({**filter_, "uri": f"{url}/dls"})
        annotations = {
            key: value for key, value in trigger.metadata.annotations.items() if key.startswith(keys.JETSTREAM_PREFIX)
        }
        labels = {keys.BROKER: broker.name, keys.TRIGGER: trigger.name}
        return {
            "apiVersion": Subscription.RESOURCE.api_version,
            "kind": "Subscription",
            "metadata": child_metadata(trigger, subscription_name(trigger), labels, annotations),
            "spec": spec,
        }

    async def _check_dependency(self, trigger: Trigger, conditions: Conditions) -> float | None:
        """`knative.dev/dependency` names an object, a source mostly, without which the Trigger is not ready."""
        ref = dependency_of(trigger)
        if ref is None:
            conditions.mark_true("DependencyReady")
            return None
        try:
            found = await self._cluster.references.find(ref, trigger.namespace)
        except Unresolved as error:
            conditions.mark_false("DependencyReady", "DependencyDoesNotExist", f"Dependency does not exist: {error}")
            return _RETRY_S if error.is_transient else None
        text = f'Dependency "{ref.name}" has not been reconciled at its generation {found.metadata.generation} yet'
        propagate(conditions, "DependencyReady", found, reason="GenerationNotEqual", message=text)
        return None


def subscription_name(trigger: Trigger) -> str:
    """`<broker>-<trigger>-<uid>`, the front part shortened; source: `pkg/utils/names.go`."""
    uid = trigger.metadata.uid
    prefix = f"{trigger.broker_key[1]}-{trigger.name}-"[: max(_NAME_MAX - len(uid), 0)]
    if not prefix.endswith("-"):
        prefix = prefix[: max(_NAME_MAX - len(uid) - 1, 0)].removesuffix(".")
        return f"{prefix}-{uid}"
    return prefix + uid


def dependency_of(trigger: Trigger) -> KReference | None:
    """The object of the annotation; None without one, or for text that admission would not let through."""
    text = trigger.metadata.annotations.get(keys.DEPENDENCY)
    if not text:
        return None
    try:
        return msgspec.convert(json.loads(text), KReference)
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None


def _channel_of(trigger: Trigger, broker: Broker) -> JsonObject:
    told = broker.status.annotations
    channel = {
        "apiVersion": told.get(keys.CHANNEL_API_VERSION, ""),
        "kind": told.get(keys.CHANNEL_KIND, ""),
        "name": told.get(keys.CHANNEL_NAME, ""),
    }
    if broker.namespace != trigger.namespace:
        channel["namespace"] = broker.namespace
    return channel


def _owner_of(subscription: Subscription) -> Iterator[str]:
    owner = subscription.metadata.controller()
    if owner is not None:
        yield owner.uid


def _is_elsewhere(held: Subscription, wanted: JsonObject) -> bool:
    return bool(msgspec.to_builtins(held.spec.channel) != wanted["spec"]["channel"])


def _filled(fields: dict[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in fields.items() if text}
