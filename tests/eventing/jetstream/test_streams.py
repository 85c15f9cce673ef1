"""Streams and consumers: made once, kept, brought up to date, removed; others' are left alone."""

import pytest
from nats.js.api import ConsumerConfig, StreamConfig

from eventing.jetstream.publisher import Publisher
from eventing.jetstream.streams import Consumer, JetStreamError, Streams
from tests.eventing.jetstream.test_publisher import linked, publish
from tests.support.nats import RunningNats


async def test_a_stream_is_made_once_and_stays_as_it_is(nats: RunningNats) -> None:
    async with linked(nats) as link:
        streams = Streams(link)
        assert await streams.ensure_stream(StreamConfig(name="S1", subjects=["s1.x"], max_msgs=5))
        assert not await streams.ensure_stream(StreamConfig(name="S1", subjects=["s1.x"], max_msgs=7))
        assert (await link.jetstream.stream_info("S1")).config.max_msgs == 5
        await streams.remove_stream("S1")
        await streams.remove_stream("S1")


async def test_a_stream_of_that_name_with_other_subjects_belongs_to_somebody_else(nats: RunningNats) -> None:
    async with linked(nats) as link:
        streams = Streams(link)
        await streams.ensure_stream(StreamConfig(name="S2", subjects=["theirs.x"]))
        with pytest.raises(JetStreamError, match=r"expected it to take ours\.x, it takes theirs\.x") as raised:
            await streams.ensure_stream(StreamConfig(name="S2", subjects=["ours.x"]))
        assert not raised.value.is_temporary


async def test_a_consumer_is_brought_up_to_date_without_losing_its_place(nats: RunningNats) -> None:
    async with linked(nats) as link:
        streams = Streams(link)
        await streams.ensure_stream(StreamConfig(name="S3", subjects=["s3.x"]))
        assert (await publish(Publisher(link), "s3.x", b"x")).sequence == 1
        await streams.ensure_consumer("S3", ConsumerConfig(durable_name="C", ack_wait=5.0, max_ack_pending=10))
        message = (await (await link.jetstream.pull_subscribe_bind("C", "S3")).fetch(1))[0]
        await message.ack_sync()
        state = await streams.ensure_consumer("S3", ConsumerConfig(durable_name="C", ack_wait=7.0, max_ack_pending=1))
        info = await link.jetstream.consumer_info("S3", "C")
        assert (info.config.ack_wait, info.config.max_ack_pending) == (7.0, 1)
        assert (state.pending, info.ack_floor.stream_seq) == (0, 1)
        assert await streams.consumers("S3") == [Consumer("C", is_kept=False, owed=0, floor=1, subject=">")]
        await streams.remove_consumer("S3", "C")
        await streams.remove_consumer("S3", "C")
        assert await streams.consumers("S3") == []


async def test_a_push_consumer_of_another_dispatcher_goes_on_as_a_pull_consumer_where_it_was(nats: RunningNats) -> None:
    async with linked(nats) as link:
        streams = Streams(link)
        await streams.ensure_stream(StreamConfig(name="S4", subjects=["s4.x"]))
        subscription = await link.jetstream.subscribe("s4.x", durable="C", manual_ack=True)
        for _ in range(3):
            await publish(Publisher(link), "s4.x", b"x")
        await (await subscription.next_msg(5)).ack_sync()
        assert (await streams.ensure_consumer("S4", ConsumerConfig(durable_name="C"))).pending == 2
        assert (await link.jetstream.consumer_info("S4", "C")).config.deliver_subject is None


async def test_what_the_server_refuses_is_told_with_the_name(nats: RunningNats) -> None:
    async with linked(nats) as link:
        streams = Streams(link)
        with pytest.raises(JetStreamError, match="consumer C of stream NONE: stream not found") as raised:
            await streams.ensure_consumer("NONE", ConsumerConfig(durable_name="C"))
        assert raised.value.is_temporary
        await streams.ensure_stream(StreamConfig(name="S5", subjects=["s5.x"]))
        with pytest.raises(JetStreamError, match="stream S6: subjects overlap") as raised:
            await streams.ensure_stream(StreamConfig(name="S6", subjects=["s5.x"]))
        assert not raised.value.is_temporary


async def test_without_a_connection_everything_is_temporary(nats: RunningNats) -> None:
    async with linked(nats) as link:
        pass
    with pytest.raises(JetStreamError) as raised:
        await Streams(link).remove_stream("S7")
    assert raised.value.is_temporary
