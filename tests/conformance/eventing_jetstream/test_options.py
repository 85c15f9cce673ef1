"""What may be asked of NatsJetStreamChannels beyond the statements: order, bounds, names, resuming, clean ends."""

from functools import partial

import pytest

from kube.errors import NotFound
from kube.models.messaging import NatsJetStreamChannel
from tests.support.dispatcher import DEADLINE_S, EVENT, NAMESPACE, Channel, dead_letters_to, subscriber
from tests.support.jetstream_dispatcher import JetStreamWorld
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


def event(number: int) -> tuple[str, ...]:
    return (EVENT[0], f"Ce-Id: {number}", *EVENT[2:])


async def test_no_more_events_than_allowed_are_under_way(jetstream: JetStreamWorld) -> None:
    sink = await jetstream.world.sink()
    sink.gate.clear()
    await jetstream.subscription("bounded", "bounded-channel", max_ack_pending="3")
    channel = await jetstream.channel(subscriber(sink.url, name="bounded"), name="bounded-channel")
    for number in range(6):
        assert (await jetstream.world.send(channel, event=event(number))).status == 202
    await sink.until(3)
    (info,) = await jetstream.nats.jetstream().consumers_info("KN_NS__BOUNDED_CHANNEL")
    assert (info.num_ack_pending, info.num_pending, len(sink.got)) == (3, 3, 3)
    sink.gate.set()
    await sink.until(6)


async def test_in_order_also_over_retries(jetstream: JetStreamWorld) -> None:
    sink = await jetstream.world.sink(503, 503, 202)
    await jetstream.subscription("ordered", "ordered-channel", ordered="true")
    settings = {"retry": 5, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"}
    channel = await jetstream.channel(subscriber(sink.url, name="ordered", delivery=settings), name="ordered-channel")
    for number in range(4):
        assert (await jetstream.world.send(channel, event=event(number))).status == 202
    await sink.until(6)
    assert [got.get("ce-id") for got in sink.got] == ["0", "0", "0", "1", "2", "3"]


async def test_a_subscription_of_the_same_name_resumes_where_the_last_one_was(jetstream: JetStreamWorld) -> None:
    sink = await jetstream.world.sink()
    await jetstream.subscription("resuming", "resumed-channel", resume="PT1H")
    channel = await jetstream.channel(subscriber(sink.url, name="resuming"), name="resumed-channel")
    assert (await jetstream.world.send(channel, event=event(1))).status == 202
    await sink.until(1)
    await jetstream.subscribe(channel)
    assert (await jetstream.world.send(channel, event=event(2))).status == 202
    await jetstream.subscribe(channel, subscriber(sink.url, name="resuming"))
    await sink.until(2)
    assert [got.get("ce-id") for got in sink.got] == ["1", "2"]


async def test_the_consumer_of_a_subscription_that_is_gone_is_removed(jetstream: JetStreamWorld) -> None:
    sink = await jetstream.world.sink()
    channel = await jetstream.channel(subscriber(sink.url), name="emptied-channel")
    await jetstream.nats.jetstream().add_consumer("KN_NS__EMPTIED_CHANNEL", durable_name="theirs")
    await jetstream.subscribe(channel)

    async def is_removed() -> bool:
        infos = await jetstream.nats.jetstream().consumers_info("KN_NS__EMPTIED_CHANNEL")
        return [info.name for info in infos] == ["theirs"]

    await eventually(is_removed, timeout_s=DEADLINE_S)


async def test_a_channel_goes_with_its_stream(jetstream: JetStreamWorld) -> None:
    channel = await jetstream.channel(name="gone-channel")
    assert (await jetstream.world.send(channel)).status == 202
    client = jetstream.world.client
    await client.delete(NatsJetStreamChannel, channel.name, NAMESPACE)

    async def is_gone() -> bool:
        try:
            await client.get(NatsJetStreamChannel, channel.name, NAMESPACE)
        except NotFound:
            return True
        return False

    await eventually(is_gone, timeout_s=DEADLINE_S)
    assert "KN_NS__GONE_CHANNEL" not in [i.config.name for i in await jetstream.nats.jetstream().streams_info()]
    assert (await jetstream.world.send(channel)).status == 404


async def test_a_stream_that_is_somebody_elses_is_neither_used_nor_removed(jetstream: JetStreamWorld) -> None:
    await jetstream.nats.jetstream().add_stream(name="KN_NS__TAKEN", subjects=["somebody.else"])
    channel = await jetstream.channel(name="taken")
    client = jetstream.world.client
    found = await client.get(NatsJetStreamChannel, "taken", NAMESPACE)
    (condition,) = [each for each in found.status.conditions if each.type == "StreamReady"]
    assert condition.status == "False"
    assert "it belongs to somebody else" in condition.message
    await client.delete(NatsJetStreamChannel, channel.name, NAMESPACE)

    async def is_gone() -> bool:
        try:
            await client.get(NatsJetStreamChannel, "taken", NAMESPACE)
        except NotFound:
            return True
        return False

    await eventually(is_gone, timeout_s=DEADLINE_S)
    assert "KN_NS__TAKEN" in [info.config.name for info in await jetstream.nats.jetstream().streams_info()]


async def test_a_wrong_stream_and_a_wrong_subscriber_are_told_in_the_status(jetstream: JetStreamWorld) -> None:
    await jetstream.channel(name="wrong-stream", stream={"config": {"retention": "Forever"}})
    found = await jetstream.world.client.get(NatsJetStreamChannel, "wrong-stream", NAMESPACE)
    (condition,) = [each for each in found.status.conditions if each.type == "StreamReady"]
    assert condition.message.endswith("retention: expected Limits or Interest or Work, got 'Forever'")
    sink = await jetstream.world.sink()
    good, bad = subscriber(sink.url), subscriber(sink.url, delivery={"backoffDelay": "soon"})
    channel = await jetstream.channel(good, bad, name="wrong-subscriber")
    found = await jetstream.world.client.get(NatsJetStreamChannel, channel.name, NAMESPACE)
    told = {each.uid: (each.ready, each.message) for each in found.status.subscribers}
    assert told[good.uid] == ("True", "")
    assert told[bad.uid][0] == "False"
    assert "backoffDelay: expected an ISO 8601 period" in told[bad.uid][1]
    assert (await jetstream.world.send(channel)).status == 202
    await sink.until(1)


async def test_an_entry_that_becomes_wrong_loses_no_events(jetstream: JetStreamWorld) -> None:
    sink = await jetstream.world.sink()
    sink.gate.clear()
    right = subscriber(sink.url, name="slipping")
    channel = await jetstream.channel(right, name="slipping-channel")
    assert (await jetstream.world.send(channel)).status == 202
    (before,) = await jetstream.nats.jetstream().consumers_info("KN_NS__SLIPPING_CHANNEL")
    wrong = subscriber(sink.url, uid=right.uid, name="slipping", generation=2, delivery={"backoffDelay": "soon"})
    await jetstream.subscribe(channel, wrong)

    async def is_refused() -> bool:
        found = await jetstream.world.client.get(NatsJetStreamChannel, channel.name, NAMESPACE)
        return [each.ready for each in found.status.subscribers] == ["False"]

    await eventually(is_refused, timeout_s=DEADLINE_S)
    (after,) = await jetstream.nats.jetstream().consumers_info("KN_NS__SLIPPING_CHANNEL")
    assert (after.name, after.created) == (before.name, before.created)
    sink.gate.set()
    await sink.until(1)


async def test_a_letter_that_its_sink_does_not_take_goes_to_the_sink_alone(jetstream: JetStreamWorld) -> None:
    sink, letters = await jetstream.world.sink(400), await jetstream.world.sink(500, 202)
    channel = await jetstream.channel(subscriber(sink.url, delivery=dead_letters_to(letters.url)))
    assert (await jetstream.world.send(channel)).status == 202
    first, second = await letters.until(2)
    assert first.lines[1:] == second.lines[1:]
    assert second.get("ce-knativeerrorcode") == "400"
    assert second.get("prefer") is None
    assert len(sink.got) == 1


async def test_what_was_stored_without_a_dispatcher_is_delivered_when_there_is_one(jetstream: JetStreamWorld) -> None:
    sink = await jetstream.world.sink()
    channel = await jetstream.channel(subscriber(sink.url), name="waiting")
    await jetstream.world.kill()
    subject, content = "ns.waiting._knative", b'{"specversion":"1.0","id":"7","source":"/s","type":"t"}'
    await jetstream.nats.jetstream().publish(subject, content)
    await jetstream.world.start()
    (got,) = await sink.until(1)
    assert got.get("ce-id") == "7"
    assert (await jetstream.world.send(channel)).status == 202
    await sink.until(2)


async def test_62_where_the_id_alone_counts_events_of_two_sources_are_one(jetstream: JetStreamWorld) -> None:
    """As the original has it. Behind this test every event counts by source and id again."""
    world = jetstream.world
    sink = await world.sink()
    channel = await jetstream.channel(subscriber(sink.url), name="by-id")
    world.environ["KNUV_JETSTREAM_DEDUPLICATION"] = "id"
    try:
        await world.kill()
        await world.start()
        for source in ("/source", "/other"):
            await eventually(partial(is_accepted, jetstream, channel, source), timeout_s=DEADLINE_S)
        assert (await world.send(channel, event=(EVENT[0], "Ce-Id: 2", *EVENT[2:]))).status == 202
        await sink.until(2)
        assert await jetstream.stored(channel.name) == 2
        assert {(got.get("ce-id"), got.get("ce-source")) for got in sink.got} == {("1", "/source"), ("2", "/source")}
    finally:
        del world.environ["KNUV_JETSTREAM_DEDUPLICATION"]
        await world.kill()
        await world.start()


async def is_accepted(jetstream: JetStreamWorld, channel: Channel, source: str) -> bool:
    """Send an event; it is refused until the dispatcher has reached NATS."""
    event = (*EVENT[:2], f"Ce-Source: {source}", EVENT[3])
    return (await jetstream.world.send(channel, event=event)).status == 202
