"""Channels and Subscriptions, down to what the dispatcher is told."""

import asyncio

import pytest

from kube.models.core import Service
from kube.models.messaging import Channel, InMemoryChannel, Subscription
from kube.models.serving import Route, RouteStatus
from tests.controller.eventing.cluster import SYSTEM, Eventing, condition, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHANNEL = {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "name": "mine"}


async def test_an_in_memory_channel_has_a_name_that_leads_to_the_dispatcher(eventing: Eventing) -> None:
    await eventing.create(InMemoryChannel, "mine", {})
    channel = await eventing.until_ready(InMemoryChannel, "mine")
    assert channel.metadata.annotations["messaging.knative.dev/subscribable"] == "v1"
    assert channel.status.address is not None
    assert channel.status.address.url == f"http://mine-kn-channel.{eventing.namespace}.svc.cluster.local"
    assert channel.status.address.name == "http"
    service = await eventing.get(Service, "mine-kn-channel")
    assert service.spec.external_name == f"imc-dispatcher.{SYSTEM}.svc.cluster.local"
    assert service.is_controlled_by(channel)


async def test_a_channel_of_a_long_name_is_served_under_a_shorter_one(eventing: Eventing) -> None:
    """Those of Brokers and flows have long names whenever these have."""
    name = "c" * 63
    await eventing.create(InMemoryChannel, name, {})
    channel = await eventing.until_ready(InMemoryChannel, name)
    assert channel.status.address is not None
    label, _, rest = (channel.status.address.url or "").removeprefix("http://").partition(".")
    assert label.endswith("-kn-channel")
    assert rest == f"{eventing.namespace}.svc.cluster.local"
    assert (await eventing.get(Service, label)).is_controlled_by(channel)


async def test_a_service_in_the_place_of_the_channels_is_left_alone_and_told(eventing: Eventing) -> None:
    await eventing.service("mine-kn-channel")
    await eventing.create(InMemoryChannel, "mine", {})
    reason, message = await eventing.until_condition(InMemoryChannel, "mine", "ChannelServiceReady", "False")
    assert reason == "ChannelServiceFailed"
    assert 'Service "mine-kn-channel" exists and does not belong to InMemoryChannel "mine"' in message


async def test_with_encryption_addresses_are_told_by_name() -> None:
    async with running(settings={"config-features": {"transport-encryption": "permissive"}}) as eventing:
        await eventing.create(InMemoryChannel, "mine", {})
        channel = await eventing.until_ready(InMemoryChannel, "mine")
        named = [(address.name, address.url) for address in channel.status.addresses]
        https = f"https://imc-dispatcher.{SYSTEM}.svc.cluster.local/default/mine"
        assert named == [("https", https), ("http", "http://mine-kn-channel.default.svc.cluster.local")]
        await eventing.set_config("config-features", {"transport-encryption": "strict"})
        channel = await eventing.until(
            InMemoryChannel,
            "mine",
            "https alone",
            lambda channel: channel.status.address is not None and channel.status.address.name == "https",
        )
        assert [address.url for address in channel.status.addresses] == [https]


async def test_a_channel_is_one_of_the_default_kind_and_shows_its_state(eventing: Eventing) -> None:
    await eventing.create(Channel, "mine", {})
    channel = await eventing.until_ready(Channel, "mine")
    assert channel.spec.channel_template == {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"}
    assert channel.status.channel is not None
    assert (channel.status.channel.kind, channel.status.channel.name) == ("InMemoryChannel", "mine")
    assert channel.status.address is not None
    assert channel.status.address.url == f"http://mine-kn-channel.{eventing.namespace}.svc.cluster.local"
    assert (await eventing.get(InMemoryChannel, "mine")).is_controlled_by(channel)
    sink = await eventing.service("sink")
    reference = {**CHANNEL, "kind": "Channel"}
    await eventing.create(Subscription, "sub", {"channel": reference, "subscriber": sink})
    await eventing.until_ready(Subscription, "sub")
    channel = await eventing.until(Channel, "mine", "subscribers", lambda channel: bool(channel.status.subscribers))
    assert [entry.uid for entry in (await eventing.get(InMemoryChannel, "mine")).spec.subscribers] == [
        entry.uid for entry in channel.status.subscribers
    ]


async def test_a_subscription_becomes_ready_with_uid_and_generation_in_the_channels_status(eventing: Eventing) -> None:
    """First the dispatcher is silent, then it tells of the generation before, then of this one."""
    eventing.dispatchers.silent.add(eventing.namespace)
    sink = await eventing.service("sink")
    await eventing.create(InMemoryChannel, "mine", {})
    await eventing.create(Subscription, "sub", {"channel": CHANNEL, "subscriber": sink})
    await eventing.until_condition(Subscription, "sub", "AddedToChannel", "True")
    subscription = await eventing.get(Subscription, "sub")
    assert condition(subscription, "ChannelReady")[:2] == ("Unknown", "SubscriptionNotMarkedReadyByChannel")
    channel = await eventing.get(InMemoryChannel, "mine")
    told = {"uid": subscription.metadata.uid, "observedGeneration": 0, "ready": "True"}
    await eventing.client.patch(
        InMemoryChannel, "mine", eventing.namespace, {"status": {"subscribers": [told]}}, subresource="status"
    )
    await eventing.patch(Subscription, "sub", {"spec": {"reply": {"uri": "http://reply"}}})
    await eventing.until(
        InMemoryChannel, "mine", "changed", lambda now: now.metadata.generation > channel.metadata.generation
    )
    assert not (await eventing.get(Subscription, "sub")).status.is_ready()
    eventing.dispatchers.speak()
    await eventing.until_ready(Subscription, "sub")


async def test_a_subscriber_that_the_dispatcher_refuses_is_told_in_its_words(eventing: Eventing) -> None:
    eventing.dispatchers.verdicts[eventing.namespace] = ("False", "certificates cannot be read")
    sink = await eventing.service("sink")
    await eventing.create(InMemoryChannel, "mine", {})
    await eventing.create(Subscription, "sub", {"channel": CHANNEL, "subscriber": sink})
    assert await eventing.until_condition(Subscription, "sub", "ChannelReady", "False") == (
        "SubscriptionNotMarkedReadyByChannel",
        "certificates cannot be read",
    )


async def test_references_are_resolved_whatever_kind_has_the_address(eventing: Eventing) -> None:
    """A channel as subscriber, a Knative Service with a path as reply; both are woken when the address comes."""
    await eventing.create(InMemoryChannel, "mine", {})
    other = {"ref": {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "name": "other"}}
    app = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Route", "name": "app"}, "uri": "answers?x=y"}
    await eventing.create(Subscription, "sub", {"channel": CHANNEL, "subscriber": other, "reply": app})
    reason, message = await eventing.until_condition(Subscription, "sub", "ReferencesResolved", "False")
    assert (reason, message) == (
        "SubscriberResolveFailed",
        'Failed to resolve spec.subscriber: inmemorychannels "other" not found',
    )
    await eventing.create(InMemoryChannel, "other", {})
    reason, message = await eventing.until_condition(Subscription, "sub", "ReferencesResolved", "False")
    await eventing.until(
        Subscription, "sub", "reply", lambda sub: condition(sub, "ReferencesResolved")[1] == "ReplyResolveFailed"
    )
    route = await eventing.create(Route, "app", {"traffic": [{"revisionName": "app-1", "percent": 100}]})
    await eventing.client.patch_status(
        route, RouteStatus(address={"url": f"http://app.{eventing.namespace}.svc.cluster.local"})
    )
    subscription = await eventing.until_ready(Subscription, "sub")
    physical = subscription.status.physical_subscription
    assert physical.subscriber_uri == f"http://other-kn-channel.{eventing.namespace}.svc.cluster.local"
    assert physical.reply_uri == f"http://app.{eventing.namespace}.svc.cluster.local/answers?x=y"


async def test_a_kind_that_does_not_exist_is_told(eventing: Eventing) -> None:
    await eventing.create(InMemoryChannel, "mine", {})
    nobody = {"ref": {"apiVersion": "example.com/v1", "kind": "Nothing", "name": "none"}}
    await eventing.create(Subscription, "sub", {"channel": CHANNEL, "subscriber": nobody})
    _, message = await eventing.until_condition(Subscription, "sub", "ReferencesResolved", "False")
    assert message == "Failed to resolve spec.subscriber: no API 'example.com/v1' in this cluster"


async def test_a_deleted_subscription_leaves_the_others_alone(eventing: Eventing) -> None:
    sink = await eventing.service("sink")
    await eventing.create(InMemoryChannel, "mine", {})
    for name in ("one", "two"):
        await eventing.create(Subscription, name, {"channel": CHANNEL, "subscriber": sink})
        await eventing.until_ready(Subscription, name)
    await eventing.client.delete(Subscription, "one", eventing.namespace)
    await eventing.until_gone(Subscription, "one")
    channel = await eventing.get(InMemoryChannel, "mine")
    assert [entry.name for entry in channel.spec.subscribers] == ["two"]


async def test_a_subscription_goes_though_its_channel_went_first(eventing: Eventing) -> None:
    sink = await eventing.service("sink")
    await eventing.create(InMemoryChannel, "mine", {})
    await eventing.create(Subscription, "sub", {"channel": CHANNEL, "subscriber": sink})
    await eventing.until_ready(Subscription, "sub")
    await eventing.client.delete(InMemoryChannel, "mine", eventing.namespace)
    await eventing.until_gone(InMemoryChannel, "mine")
    await eventing.client.delete(Subscription, "sub", eventing.namespace)
    await eventing.until_gone(Subscription, "sub")


async def test_many_subscriptions_of_one_channel_are_few_writes(eventing: Eventing) -> None:
    sink = await eventing.service("sink")
    channel = await eventing.create(InMemoryChannel, "mine", {})
    names = [f"sub-{index}" for index in range(30)]
    await asyncio.gather(
        *(eventing.create(Subscription, name, {"channel": CHANNEL, "subscriber": sink}) for name in names)
    )
    for name in names:
        await eventing.until_ready(Subscription, name)
    channel = await eventing.get(InMemoryChannel, "mine")
    assert sorted(entry.name or "" for entry in channel.spec.subscribers) == sorted(names)
    assert channel.metadata.generation < 20
