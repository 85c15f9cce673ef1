"""Sequence and Parallel: their channels and Subscriptions, and what becomes of steps that are taken away."""

import pytest

from kube.models.duck import Destination
from kube.models.flows import Parallel, Sequence
from kube.models.messaging import InMemoryChannel, NatsJetStreamChannel, Subscription
from tests.controller.eventing.cluster import Eventing, condition

pytestmark = pytest.mark.asyncio(loop_scope="module")


def refers_to(destination: Destination | None) -> str:
    """The name of what it refers to, or its URI; empty for none."""
    if destination is None:
        return ""
    return destination.ref.name if destination.ref is not None else destination.uri or ""


async def test_each_step_answers_into_the_next_channel_and_the_last_to_the_reply(eventing: Eventing) -> None:
    steps = [
        {**await eventing.service("first"), "delivery": {"retry": 2}},
        await eventing.service("second"),
    ]
    reply = await eventing.service("answers")
    await eventing.create(Sequence, "s", {"steps": steps, "reply": reply})
    sequence = await eventing.until_ready(Sequence, "s")
    names = ["s-kn-sequence-0", "s-kn-sequence-1"]
    found = []
    for name in names:
        subscription = await eventing.get(Subscription, name)
        spec = subscription.spec
        assert subscription.is_controlled_by(sequence)
        found.append((spec.channel.name, refers_to(spec.subscriber), refers_to(spec.reply)))
    assert found == [(names[0], "first", names[1]), (names[1], "second", "answers")]
    delivery = (await eventing.get(Subscription, names[0])).spec.delivery
    assert delivery is not None
    assert delivery.retry == 2
    assert sequence.status.address is not None
    assert sequence.status.address.url == f"http://s-kn-sequence-0-kn-channel.{eventing.namespace}.svc.cluster.local"
    assert [each.channel.name for each in sequence.status.channel_statuses] == names
    assert [each.subscription.name for each in sequence.status.subscription_statuses] == names


async def test_a_step_that_is_taken_away_takes_channel_and_subscription_along(eventing: Eventing) -> None:
    first, second = await eventing.service("first"), await eventing.service("second")
    await eventing.create(Sequence, "s", {"steps": [first, second], "reply": {"uri": "http://answers"}})
    await eventing.until_ready(Sequence, "s")
    await eventing.patch(Sequence, "s", {"spec": {"steps": [second]}})
    await eventing.until_gone(InMemoryChannel, "s-kn-sequence-1")
    await eventing.until_gone(Subscription, "s-kn-sequence-1")
    await eventing.until_ready(Sequence, "s")
    left = (await eventing.get(Subscription, "s-kn-sequence-0")).spec
    assert (refers_to(left.subscriber), refers_to(left.reply)) == ("second", "http://answers")


async def test_a_sequence_waits_for_a_step_and_says_which(eventing: Eventing) -> None:
    nobody = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "nobody"}}
    await eventing.create(Sequence, "s", {"steps": [nobody]})
    reason, message = await eventing.until_condition(Sequence, "s", "SubscriptionsReady", "False")
    assert reason == "SubscriberResolveFailed"
    assert message.startswith("Subscription s-kn-sequence-0 is not ready: ")


async def test_branches_with_and_without_a_filter(eventing: Eventing) -> None:
    """Eventing-sources statement 51: a branch's reply goes before the Parallel's."""
    app, judge = await eventing.service("app"), await eventing.service("judge")
    branches = [{"filter": judge, "subscriber": app, "reply": {"uri": "http://own"}}, {"subscriber": app}]
    await eventing.create(Parallel, "p", {"branches": branches, "reply": {"uri": "http://all"}})
    parallel = await eventing.until_ready(Parallel, "p")
    found = {}
    for name in ("p-kn-parallel-filter-0", "p-kn-parallel-0", "p-kn-parallel-filter-1", "p-kn-parallel-1"):
        spec = (await eventing.get(Subscription, name)).spec
        found[name] = (spec.channel.name, refers_to(spec.subscriber), refers_to(spec.reply))
    assert found == {
        "p-kn-parallel-filter-0": ("p-kn-parallel", "judge", "p-kn-parallel-0"),
        "p-kn-parallel-0": ("p-kn-parallel-0", "app", "http://own"),
        "p-kn-parallel-filter-1": ("p-kn-parallel", "p-kn-parallel-1", ""),
        "p-kn-parallel-1": ("p-kn-parallel-1", "app", "http://all"),
    }
    assert parallel.status.address is not None
    assert parallel.status.address.url == f"http://p-kn-parallel-kn-channel.{eventing.namespace}.svc.cluster.local"
    assert len(parallel.status.branch_statuses) == 2
    assert condition(parallel, "ChannelsReady")[0] == "True"


async def test_channels_of_the_kind_that_the_template_had_go(eventing: Eventing) -> None:
    them = {"uri": "http://them"}
    await eventing.create(Sequence, "mine", {"steps": [them, them]})
    await eventing.until_ready(Sequence, "mine")
    template = {"apiVersion": "messaging.knative.dev/v1alpha1", "kind": "NatsJetStreamChannel"}
    await eventing.patch(Sequence, "mine", {"spec": {"channelTemplate": template}})
    for index in range(2):
        await eventing.until_gone(InMemoryChannel, f"mine-kn-sequence-{index}")
        channel = await eventing.get(NatsJetStreamChannel, f"mine-kn-sequence-{index}")
        assert channel.metadata.deletion_timestamp is None
