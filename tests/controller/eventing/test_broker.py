"""Brokers and Triggers from nothing to ready, and what becomes of them when others change."""

import pytest

from kube.models.core import ConfigMap, Endpoints, Service
from kube.models.eventing import CHANNEL_ADDRESS_ANNOTATION, Broker, Trigger
from kube.models.messaging import InMemoryChannel, Subscription
from kube.models.meta import Condition
from tests.controller.eventing.cluster import CONTROLLER, SYSTEM, Eventing, condition, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_broker_is_ready_with_its_channel_and_its_address_is_the_ingress(eventing: Eventing) -> None:
    broker = await eventing.broker()
    assert broker.broker_class == "MTChannelBasedBroker"
    assert broker.status.address is not None
    assert broker.status.address.url == f"http://broker-ingress.{SYSTEM}.svc.cluster.local/{eventing.namespace}/default"
    told = broker.status.annotations
    assert (
        told[CHANNEL_ADDRESS_ANNOTATION]
        == f"http://default-kne-trigger-kn-channel.{eventing.namespace}.svc.cluster.local"
    )
    assert told["knative.dev/channelKind"] == "InMemoryChannel"
    assert told["knative.dev/channelName"] == "default-kne-trigger"
    assert {each.type for each in broker.status.conditions} == {
        "Ready", "IngressReady", "TriggerChannelReady", "FilterReady", "Addressable", "DeadLetterSinkResolved",
        "EventPoliciesReady",
    }  # fmt: skip

    channel = await eventing.get(InMemoryChannel, "default-kne-trigger")
    assert channel.metadata.labels == {
        "eventing.knative.dev/broker": "default",
        "eventing.knative.dev/brokerEverything": "true",
    }
    assert channel.metadata.annotations["eventing.knative.dev/scope"] == "cluster"
    assert channel.is_controlled_by(broker)
    assert channel.spec.delivery is not None
    assert channel.spec.delivery.retry == 10
    service = await eventing.raw(Service, "default-kne-trigger-kn-channel")
    assert service["spec"]["externalName"] == f"imc-dispatcher.{SYSTEM}.svc.cluster.local"
    assert service["spec"]["type"] == "ExternalName"


async def test_a_trigger_is_a_subscription_of_the_filter_with_the_broker_as_reply(eventing: Eventing) -> None:
    await eventing.broker()
    app = await eventing.service("app")
    await eventing.create(Trigger, "mine", {"broker": "default", "subscriber": {**app, "uri": "/path"}})
    trigger = await eventing.until_ready(Trigger, "mine")
    assert trigger.status.subscriber_uri == f"http://app.{eventing.namespace}.svc.cluster.local/path"
    name = f"default-mine-{trigger.metadata.uid}"
    subscription = await eventing.get(Subscription, name)
    assert subscription.metadata.labels == {
        "eventing.knative.dev/broker": "default",
        "eventing.knative.dev/trigger": "mine",
    }
    spec = subscription.spec
    assert spec.subscriber is not None
    assert spec.reply is not None
    assert spec.delivery is not None
    host = f"broker-filter.{SYSTEM}.svc.cluster.local"
    assert spec.subscriber.uri == f"http://{host}/triggers/{eventing.namespace}/mine/{trigger.metadata.uid}"
    assert spec.reply.uri == f"http://broker-ingress.{SYSTEM}.svc.cluster.local/{eventing.namespace}/default"
    assert spec.delivery.retry == 10
    channel = await eventing.get(InMemoryChannel, "default-kne-trigger")
    assert [entry.uid for entry in channel.spec.subscribers] == [subscription.metadata.uid]


async def test_a_triggers_delivery_replaces_the_brokers_but_the_sink_is_the_brokers(eventing: Eventing) -> None:
    """Spec eventing-broker.md 11, statement 90: first without a delivery, then with one of its own."""
    sink, app = await eventing.service("sink"), await eventing.service("app")
    await eventing.broker(spec={"delivery": {"deadLetterSink": sink, "retry": 5}})
    await eventing.create(Trigger, "plain", {"broker": "default", "subscriber": app})
    await eventing.create(Trigger, "own", {"broker": "default", "subscriber": app, "delivery": {"retry": 1}})
    for name in ("plain", "own"):
        trigger = await eventing.until_ready(Trigger, name)
        assert trigger.status.dead_letter_sink_uri == f"http://sink.{eventing.namespace}.svc.cluster.local"
    channel = await eventing.get(InMemoryChannel, "default-kne-trigger")
    told = {entry.name or "": entry.delivery for entry in channel.spec.subscribers}
    by_trigger = {name.split("-")[1]: delivery for name, delivery in told.items()}
    for name, retry in (("plain", 5), ("own", 1)):
        delivery = by_trigger[name]
        assert delivery is not None
        assert delivery.dead_letter_sink is not None
        assert delivery.retry == retry
        assert delivery.dead_letter_sink.uri == f"http://sink.{eventing.namespace}.svc.cluster.local"


async def test_a_trigger_waits_for_broker_and_subscriber_and_is_woken_by_them(eventing: Eventing) -> None:
    reference = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "app"}}
    await eventing.create(Trigger, "mine", {"broker": "default", "subscriber": reference})
    assert await eventing.until_condition(Trigger, "mine", "BrokerReady", "False") == (
        "BrokerDoesNotExist",
        'Broker "default" does not exist',
    )
    await eventing.broker()
    reason, message = await eventing.until_condition(Trigger, "mine", "SubscriberResolved", "False")
    assert (reason, message) == ("Unable to get the Subscriber's URI", 'services "app" not found')
    await eventing.service("app")
    await eventing.until_ready(Trigger, "mine")


async def test_a_broker_tells_of_a_missing_configuration_and_takes_it_when_it_comes(eventing: Eventing) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "namespace": eventing.namespace}
    await eventing.create(Broker, "default", {"config": config})
    reason, message = await eventing.until_condition(Broker, "default", "TriggerChannelReady", "False")
    assert reason == "ChannelTemplateFailed"
    assert f'configmaps "mine" not found in namespace {eventing.namespace}' in message
    data = {"channel-template-spec": "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel"}
    body = ConfigMap(data=data)
    body.metadata.name, body.metadata.namespace = "mine", eventing.namespace
    await eventing.client.create(body)
    await eventing.until_ready(Broker, "default")


async def test_a_broker_is_not_ready_while_nobody_is_behind_the_ingress() -> None:
    """A control plane of its own: everybody has the same ingress."""
    async with running() as eventing:
        await _lose_the_ingress(eventing)


async def _lose_the_ingress(eventing: Eventing) -> None:
    await eventing.broker()
    await eventing.patch(Endpoints, "broker-ingress", {"subsets": None}, SYSTEM)
    reason, _ = await eventing.until_condition(Broker, "default", "IngressReady", "False")
    assert reason == "EndpointsUnavailable"
    subsets = [{"addresses": [{"ip": "127.0.0.9"}], "ports": [{"name": "http", "port": 8080}]}]
    await eventing.patch(Endpoints, "broker-ingress", {"subsets": subsets}, SYSTEM)
    await eventing.until_ready(Broker, "default")


async def test_with_a_trigger_its_subscription_and_its_entry_go(eventing: Eventing) -> None:
    await eventing.broker()
    app = await eventing.service("app")
    await eventing.create(Trigger, "mine", {"broker": "default", "subscriber": app})
    trigger = await eventing.until_ready(Trigger, "mine")
    await eventing.client.delete(Trigger, "mine", eventing.namespace)
    await eventing.until_gone(Subscription, f"default-mine-{trigger.metadata.uid}")
    channel = await eventing.get(InMemoryChannel, "default-kne-trigger")
    assert channel.spec.subscribers == []
    await eventing.client.delete(Broker, "default", eventing.namespace)
    await eventing.until_gone(InMemoryChannel, "default-kne-trigger")


async def test_a_dependency_holds_a_trigger_up(eventing: Eventing) -> None:
    await eventing.broker()
    app = await eventing.service("app")
    dependency = '{"apiVersion":"sources.knative.dev/v1","kind":"PingSource","name":"ping"}'
    await eventing.create(
        Trigger,
        "mine",
        {"broker": "default", "subscriber": app},
        annotations={"knative.dev/dependency": dependency},
    )
    reason, _ = await eventing.until_condition(Trigger, "mine", "DependencyReady", "False")
    assert reason == "DependencyDoesNotExist"


async def test_a_broker_of_another_class_is_left_alone(eventing: Eventing) -> None:
    await eventing.create(Broker, "theirs", {}, annotations={"eventing.knative.dev/broker.class": "SomebodyElse"})
    await eventing.broker("ours")
    theirs = await eventing.get(Broker, "theirs")
    assert theirs.status.conditions == []


async def test_a_jetstream_broker_needs_no_channel_but_its_stream(eventing: Eventing) -> None:
    """The ingress tells of the stream in a condition of its own; it is not lost, and it counts."""
    await eventing.create(Broker, "default", {}, annotations={"eventing.knative.dev/broker.class": "JetStreamBroker"})
    await eventing.until_condition(Broker, "default", "IngressReady", "True")
    broker = await eventing.until(Broker, "default", "told", lambda broker: broker.status.observed_generation > 0)
    assert condition(broker, "TriggerChannelReady")[0] == "Unknown"
    broker.status.conditions.append(Condition(type="StreamReady", status="True"))
    await eventing.client.patch_status(broker, broker.status)
    broker = await eventing.until_ready(Broker, "default")
    assert condition(broker, "StreamReady")[0] == "True"
    assert (await eventing.client.list(InMemoryChannel, eventing.namespace)).items == []


async def test_only_the_controller_writes_subscribers(eventing: Eventing) -> None:
    await eventing.broker()
    patch = {"spec": {"subscribers": [{"uid": "u", "subscriberUri": "http://evil"}]}}
    message = await eventing.refused_change(InMemoryChannel, "default-kne-trigger", patch)
    assert f"was not the {CONTROLLER} service account: spec.subscribers" in message
