"""With OIDC on: service accounts, audiences, the filter between channel and sinks, and policies."""

import json
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from kube.models.core import ServiceAccount
from kube.models.eventing import Broker, Trigger
from kube.models.eventpolicy import EventPolicy
from kube.models.flows import Parallel, Sequence
from kube.models.messaging import Channel, InMemoryChannel, NatsJetStreamChannel, Subscription
from kube.models.meta import Condition
from kube.models.sources import PingSource
from tests.controller.eventing.cluster import SYSTEM, Eventing, condition, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane() -> AsyncIterator[Eventing]:
    """A control plane with OIDC on."""
    async with running(settings={"config-features": {"authentication-oidc": "enabled"}}) as eventing:
        yield eventing


async def test_audiences_are_told_and_the_filter_stands_before_reply_and_sink(eventing: Eventing) -> None:
    sink = await eventing.service("sink")
    broker = await eventing.broker(spec={"delivery": {"retry": 1, "deadLetterSink": sink}})
    assert broker.status.address is not None
    assert broker.status.address.audience == f"eventing.knative.dev/broker/{eventing.namespace}/default"
    channel = await eventing.get(InMemoryChannel, "default-kne-trigger")
    assert channel.status.address is not None
    audience = f"messaging.knative.dev/inmemorychannel/{eventing.namespace}/default-kne-trigger"
    assert channel.status.address.audience == audience
    assert broker.status.annotations["knative.dev/channelAudience"] == audience

    await eventing.create(Trigger, "mine", {"broker": "default", "subscriber": {"uri": "http://them"}})
    trigger = await eventing.until_ready(Trigger, "mine")
    uid = trigger.metadata.uid
    base = f"http://broker-filter.{SYSTEM}.svc.cluster.local/triggers/{eventing.namespace}/mine/{uid}"
    subscription = await eventing.raw(Subscription, f"default-mine-{uid}")
    assert subscription["spec"]["subscriber"] == {"uri": base, "audience": "mt-broker-filter"}
    assert subscription["spec"]["reply"] == {"uri": f"{base}/reply", "audience": "mt-broker-filter"}
    dead = {"uri": f"{base}/dls", "audience": "mt-broker-filter"}
    assert subscription["spec"]["delivery"] == {"retry": 1, "deadLetterSink": dead}


async def test_senders_have_service_accounts_of_their_own(eventing: Eventing) -> None:
    await eventing.broker()
    await eventing.create(Trigger, "mine", {"broker": "default", "subscriber": {"uri": "http://them"}})
    trigger = await eventing.until_ready(Trigger, "mine")
    assert trigger.status.auth is not None
    name = "mine-oidc-eventing.knative.dev-trigger"
    assert trigger.status.auth.service_account_name == name
    assert (await eventing.get(ServiceAccount, name)).is_controlled_by(trigger)
    entry = (await eventing.get(InMemoryChannel, "default-kne-trigger")).spec.subscribers[0]
    subscription = await eventing.get(Subscription, entry.name or "")
    assert entry.auth == subscription.status.auth
    assert entry.auth is not None


async def test_policies_that_hold_are_listed_once_their_subjects_are_known(eventing: Eventing) -> None:
    """By name, by labels, for all; not those for others. One that is not ready holds the Broker up."""
    broker = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker"}
    await eventing.create(Broker, "default", {}, labels={"team": "a"})
    anybody = [{"sub": "system:serviceaccount:a:*"}]
    for name, to in (
        ("for-all", []),
        ("by-name", [{"ref": {**broker, "name": "default"}}]),
        ("by-label", [{"selector": {**broker, "matchLabels": {"team": "a"}}}]),
        ("others", [{"ref": {**broker, "name": "other"}}, {"selector": {**broker, "matchLabels": {"team": "b"}}}]),
        ("channels", [{"selector": {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel"}}]),
    ):
        await eventing.create(EventPolicy, name, {"from": anybody, "to": to})
        policy = await eventing.until_ready(EventPolicy, name)
        assert policy.status.from_ == ["system:serviceaccount:a:*"]
    await eventing.until(
        Broker,
        "default",
        "policies",
        lambda found: [each.name for each in found.status.policies] == ["by-label", "by-name", "for-all"],
    )
    await eventing.until_ready(Broker, "default")
    trigger = {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "name": "mine"}
    await eventing.create(EventPolicy, "of-mine", {"from": [{"ref": trigger}]})
    reason, message = await eventing.until_condition(Broker, "default", "EventPoliciesReady", "False")
    assert (reason, message) == ("EventPoliciesNotReady", "event policies of-mine are not ready")
    await eventing.create(Trigger, "mine", {"broker": "other", "subscriber": {"uri": "http://them"}})
    await eventing.broker("other")
    policy = await eventing.until_ready(EventPolicy, "of-mine")
    account = "mine-oidc-eventing.knative.dev-trigger"
    assert policy.status.from_ == [f"system:serviceaccount:{eventing.namespace}:{account}"]
    await eventing.until_ready(Broker, "default")


async def test_what_no_policy_holds_for_says_the_default(eventing: Eventing) -> None:
    broker = await eventing.broker()
    told = condition(broker, "EventPoliciesReady")
    assert told == ("True", "DefaultAuthorizationMode", 'Default authz mode is "allow-same-namespace"')


async def test_a_jetstream_channel_counts_what_its_dispatcher_tells_of_the_stream(eventing: Eventing) -> None:
    """Two writers of one status: neither loses what the other wrote."""
    await eventing.create(NatsJetStreamChannel, "mine", {})
    reason, _ = await eventing.until_condition(NatsJetStreamChannel, "mine", "DispatcherReady", "False")
    assert reason == "DispatcherDeploymentDoesNotExist"
    channel = await eventing.until_condition(NatsJetStreamChannel, "mine", "StreamReady", "Unknown")
    found = await eventing.get(NatsJetStreamChannel, "mine")
    told = [each for each in found.status.conditions if each.type != "StreamReady"]
    found.status.conditions = [*told, Condition(type="StreamReady", status="True", reason="Theirs")]
    await eventing.client.patch_status(found, found.status)
    await eventing.patch(NatsJetStreamChannel, "mine", {"spec": {"delivery": {"retry": 1}}})
    channel = await eventing.until(
        NatsJetStreamChannel,
        "mine",
        "its new generation",
        lambda channel: channel.status.observed_generation == channel.metadata.generation,
    )
    assert condition(channel, "StreamReady")[:2] == ("True", "Theirs")
    assert channel.status.address is not None
    assert channel.status.address.url == f"http://mine-kn-jsm-channel.{eventing.namespace}.svc.cluster.local"


async def test_nobody_sends_with_the_account_of_somebody_else(eventing: Eventing) -> None:
    """One of a predecessor of the same name is collected soon, and only then there is one of our own."""
    name = "mine-oidc-sources.knative.dev-pingsource"
    path = ServiceAccount.RESOURCE.path(eventing.namespace)
    theirs = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    await eventing.client.raw("POST", path, body=json.dumps(theirs).encode())
    await eventing.create(PingSource, "mine", {"sink": {"uri": "http://them"}})
    reason, message = await eventing.until_condition(PingSource, "mine", "OIDCIdentityCreated", "False")
    assert (reason, message) == (
        "NotOwned",
        f'ServiceAccount "{name}" exists and does not belong to PingSource "mine"',
    )
    assert (await eventing.get(PingSource, "mine")).status.auth is None
    await eventing.client.raw("DELETE", f"{path}/{name}")
    await eventing.until_condition(PingSource, "mine", "OIDCIdentityCreated", "True")
    source = await eventing.get(PingSource, "mine")
    assert (await eventing.get(ServiceAccount, name)).is_controlled_by(source)


async def test_an_account_that_somebody_deletes_is_made_anew(
    eventing: Eventing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells of it, so it is looked for when the object is, though not each time."""
    await eventing.create(PingSource, "mine", {"sink": {"uri": "http://them"}})
    await eventing.until_condition(PingSource, "mine", "OIDCIdentityCreated", "True")
    name = "mine-oidc-sources.knative.dev-pingsource"
    first = await eventing.get(ServiceAccount, name)
    await eventing.client.delete(ServiceAccount, name, eventing.namespace)
    monkeypatch.setattr("controller.eventing.cluster._SEEN_S", 0.0)
    await eventing.patch(PingSource, "mine", {"metadata": {"annotations": {"touched": "yes"}}})
    found = await eventing.until(
        ServiceAccount, name, "is there again", lambda held: held.metadata.uid != first.metadata.uid
    )
    assert found.is_controlled_by(await eventing.get(PingSource, "mine"))


async def test_a_policy_of_a_channel_or_flow_holds_where_its_events_come_in(eventing: Eventing) -> None:
    """Senders reach the channel behind it, whose dispatcher asks for that channel's policies only."""
    messaging, flows = "messaging.knative.dev/v1", "flows.knative.dev/v1"
    them = {"uri": "http://them"}
    await eventing.create(Channel, "mine", {})
    await eventing.create(Sequence, "steps", {"steps": [them, them]})
    await eventing.create(Parallel, "both", {"branches": [{"subscriber": them}]})
    for kind, api_version, name in (
        ("Channel", messaging, "mine"),
        ("Sequence", flows, "steps"),
        ("Parallel", flows, "both"),
    ):
        to = {"apiVersion": api_version, "kind": kind, "name": name}
        await eventing.create(EventPolicy, f"of-{name}", {"from": [{"sub": "me"}], "to": [{"ref": to}]})

    def holds(name: str) -> Callable[[InMemoryChannel], bool]:
        return lambda found: [policy.name for policy in found.status.policies] == [name]

    for name, policy in (("mine", "of-mine"), ("steps-kn-sequence-0", "of-steps"), ("both-kn-parallel", "of-both")):
        await eventing.until(InMemoryChannel, name, f"has {policy}", holds(policy))
    for inner in ("steps-kn-sequence-1", "both-kn-parallel-0"):
        await eventing.until(InMemoryChannel, inner, "has its own", holds(f"{inner}-kne-sender"))


async def test_the_channels_inside_a_flow_are_for_its_own_subscriptions(eventing: Eventing) -> None:
    """Also while a policy for everything in the namespace lets nobody of it send."""
    await eventing.create(EventPolicy, "others", {"from": [{"sub": "system:serviceaccount:a:b"}]})
    them = {"uri": "http://them"}
    branches = [{"subscriber": them}, {"subscriber": them, "filter": them}]
    await eventing.create(Sequence, "steps", {"steps": [them, them, them]})
    await eventing.create(Parallel, "both", {"branches": branches})
    for inner, sender in (
        ("steps-kn-sequence-1", "steps-kn-sequence-0"),
        ("steps-kn-sequence-2", "steps-kn-sequence-1"),
        ("both-kn-parallel-0", "both-kn-parallel-filter-0"),
        ("both-kn-parallel-1", "both-kn-parallel-filter-1"),
    ):
        channel = await eventing.until(
            InMemoryChannel, inner, "has both policies", lambda found: len(found.status.policies) == 2
        )
        (own,) = {each.name for each in channel.status.policies} - {"others"}
        subscription = await eventing.until_ready(Subscription, sender)
        assert subscription.status.auth is not None
        account = subscription.status.auth.service_account_name
        policy = await eventing.get(EventPolicy, own)
        assert policy.status.from_ == [f"system:serviceaccount:{eventing.namespace}:{account}"]
    await eventing.until_ready(Sequence, "steps")
    await eventing.until_ready(Parallel, "both")
    await eventing.patch(Sequence, "steps", {"spec": {"steps": [them, them]}})
    await eventing.until_gone(EventPolicy, "steps-kn-sequence-2-kne-sender")
    assert await eventing.get(EventPolicy, "steps-kn-sequence-1-kne-sender")


async def test_a_jetstream_channel_says_for_whom_tokens_are_and_who_may_send(eventing: Eventing) -> None:
    """Its dispatcher asks for such a token, and goes by these policies."""
    ref = {"apiVersion": "messaging.knative.dev/v1alpha1", "kind": "NatsJetStreamChannel", "name": "mine"}
    spec = {"from": [{"sub": "system:serviceaccount:a:b"}], "to": [{"ref": ref}]}
    await eventing.create(EventPolicy, "only-b", spec)
    await eventing.create(NatsJetStreamChannel, "mine", {})
    channel = await eventing.until(
        NatsJetStreamChannel, "mine", "has the policy", lambda found: bool(found.status.policies)
    )
    assert [each.name for each in channel.status.policies] == ["only-b"]
    assert channel.status.address is not None
    assert channel.status.address.audience == f"messaging.knative.dev/natsjetstreamchannel/{eventing.namespace}/mine"
    await eventing.client.delete(EventPolicy, "only-b", eventing.namespace)
    await eventing.until(NatsJetStreamChannel, "mine", "has none", lambda found: not found.status.policies)


async def test_the_ingress_and_nobody_past_it_may_send_to_a_brokers_channel(eventing: Eventing) -> None:
    """By default only senders of the channel's own namespace may, and the ingress is in another."""
    await eventing.broker()
    channel = await eventing.until(
        InMemoryChannel, "default-kne-trigger", "has a policy", lambda found: bool(found.status.policies)
    )
    (applied,) = channel.status.policies
    policy = await eventing.get(EventPolicy, applied.name)
    assert policy.status.from_ == [f"system:serviceaccount:{SYSTEM}:mt-broker-ingress-oidc"]
    broker = await eventing.until_ready(Broker, "default")
    assert policy.is_controlled_by(broker)
    assert broker.status.policies == []


async def test_channels_that_own_one_another_hold_nobody_up(eventing: Eventing) -> None:
    uids = {name: (await eventing.create(Channel, name, {})).metadata.uid for name in ("one", "other")}
    for name, owner in (("one", "other"), ("other", "one")):
        reference = {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": owner, "uid": uids[owner]}
        change = {"metadata": {"ownerReferences": [{**reference, "controller": True}]}}
        await eventing.patch(Channel, name, change)
    await eventing.create(Channel, "third", {})
    for name in ("one", "other", "third"):
        await eventing.until_ready(Channel, name)
