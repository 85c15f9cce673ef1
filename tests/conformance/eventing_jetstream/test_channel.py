"""NatsJetStreamChannels, by statement (spec eventing-channels.md, 15 and 61 to 65)."""

import base64
import json

import pytest

from tests.support.dispatcher import DEADLINE_S, EVENT, NAMESPACE, Reply, dead_letters_to, subscriber
from tests.support.jetstream_dispatcher import JetStreamWorld
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_15_an_unknown_host_is_404_and_a_path_is_400(jetstream: JetStreamWorld) -> None:
    channel = await jetstream.channel()
    world = jetstream.world
    assert (await world.request("POST", "/", *EVENT, host="nobody.ns.svc.cluster.local")).status == 404
    assert (await world.request("POST", "/", *EVENT, host="nobody")).status == 400
    for path in ("/a", f"/{NAMESPACE}/{channel.name}"):
        assert (await world.request("POST", path, *EVENT, host=channel.host)).status == 400
    assert (await world.request("POST", "/", *EVENT, host=channel.host)).status == 202
    assert (await world.request("POST", "/", *EVENT, host=channel.host + ":80")).status == 202
    assert (await world.request("GET", "/", host=channel.host)).status == 405
    assert (await world.request("OPTIONS", "/", host=channel.host)).status == 200
    assert (await world.request("POST", "/", host=channel.host)).status == 400


async def test_61_the_message_is_structured_json_on_the_channels_subject(jetstream: JetStreamWorld) -> None:
    channel = await jetstream.channel(name="orders-eu")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    lines = ("Content-Type: application/json", f"Traceparent: {trace}", "Ce-Subject: s")
    assert (await jetstream.world.send(channel, *lines, body=b'{"n": 1}')).status == 202
    message = await jetstream.nats.jetstream().get_msg("KN_NS__ORDERS_EU", seq=1)
    assert message.subject == "ns.orders-eu._knative"
    assert json.loads(message.data or b"") == {
        "specversion": "1.0",
        "id": "1",
        "source": "/source",
        "type": "type",
        "subject": "s",
        "datacontenttype": "application/json",
        "traceparent": trace,
        "data": {"n": 1},
    }


async def test_62_one_source_and_id_are_one_event_and_two_sources_are_two(jetstream: JetStreamWorld) -> None:
    channel = await jetstream.channel()
    other = (*EVENT[:2], "Ce-Source: /other", EVENT[3])
    for event in (EVENT, EVENT, other, other):
        assert (await jetstream.world.send(channel, event=event)).status == 202
    assert await jetstream.stored(channel.name) == 2
    # Behind a Broker each passage counts: a reply may have kept the id of what it answers.
    for ttl in ("255", "254", "254"):
        assert (await jetstream.world.send(channel, f"Ce-Knativebrokerttl: {ttl}")).status == 202
    assert await jetstream.stored(channel.name) == 4


async def test_63_after_retry_plus_one_deliveries_the_event_is_a_dead_letter(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    sink, letters = await world.sink(Reply(503, body=b"no")), await world.sink()
    entry = subscriber(sink.url, delivery=dead_letters_to(letters.url, retry=2, backoffPolicy="linear"))
    channel = await jetstream.channel(entry)
    assert (await world.send(channel, "Content-Type: text/plain", body=b"data")).status == 202
    (letter,) = await letters.until(1)
    assert len(sink.got) == 3
    assert letter.body == b"data"
    assert (letter.get("ce-knativeerrordest"), letter.get("ce-knativeerrorcode")) == (sink.url, "503")
    assert base64.b64decode(letter.get("ce-knativeerrordata") or "") == b"no"
    assert (letter.get("prefer"), sink.got[0].get("prefer")) == (None, "reply")


async def test_64_the_first_wait_is_one_step_later_than_over_http(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    settings = {"retry": 2, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"}
    sink = await world.sink(503, 503, 202)
    channel = await jetstream.channel(subscriber(sink.url, delivery=settings))
    assert (await world.send(channel)).status == 202
    await sink.until(3)
    assert sink.gaps_s[0] >= 0.4
    assert sink.gaps_s[1] >= 0.8


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
async def test_65_what_is_not_retried_comes_once_and_is_a_dead_letter_at_once(
    jetstream: JetStreamWorld, status: int
) -> None:
    world = jetstream.world
    sink, letters = await world.sink(status), await world.sink()
    entry = subscriber(sink.url, delivery=dead_letters_to(letters.url, retry=3))
    channel = await jetstream.channel(entry)
    assert (await world.send(channel)).status == 202
    (letter,) = await letters.until(1)
    assert letter.get("ce-knativeerrorcode") == str(status)
    # The next event's letter is the next one: nothing of the first came in between.
    assert (await world.send(channel, event=(EVENT[0], "Ce-Id: 2", *EVENT[2:]))).status == 202
    await letters.until(2)
    assert [got.get("ce-id") for got in sink.got] == ["1", "2"]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_what_is_retried_comes_again(jetstream: JetStreamWorld, status: int) -> None:
    sink = await jetstream.world.sink(status, 200)
    channel = await jetstream.channel(subscriber(sink.url, delivery={"retry": 1}))
    assert (await jetstream.world.send(channel)).status == 202
    await sink.until(2)


async def test_a_reply_goes_to_the_reply_address_and_is_acknowledged_behind_it(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    reply = Reply(200, ("Ce-Specversion: 1.0", "Ce-Id: 9", "Ce-Source: /r", "Ce-Type: answer"), b"")
    sink, replies = await world.sink(reply), await world.sink()
    replies.gate.clear()
    channel = await jetstream.channel(subscriber(sink.url, replyUri=replies.url, name="replying"))
    assert (await world.send(channel)).status == 202
    await replies.until(1)
    stream = "KN_NS__" + channel.name.upper().replace("-", "_")
    (info,) = await jetstream.nats.jetstream().consumers_info(stream)
    assert info.num_ack_pending == 1
    replies.gate.set()
    assert replies.got[0].get("ce-type") == "answer"

    async def is_acknowledged() -> bool:
        return not (await jetstream.nats.jetstream().consumers_info(stream))[0].num_ack_pending

    await eventually(is_acknowledged, timeout_s=DEADLINE_S)


async def test_headers_that_pass_and_the_trace_arrive_and_the_event_is_unchanged(jetstream: JetStreamWorld) -> None:
    sink = await jetstream.world.sink()
    channel = await jetstream.channel(subscriber(sink.url))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    lines = (f"Traceparent: {trace}", "X-Request-Id: r", "Knative-A: b", "Authorization: no", "Ce-Extension: e")
    data = bytes(range(256))
    assert (await jetstream.world.send(channel, *lines, "Content-Type: a/b", body=data)).status == 202
    (got,) = await sink.until(1)
    assert (got.get("traceparent"), got.get("x-request-id"), got.get("knative-a")) == (trace, "r", "b")
    assert (got.get("kn-namespace"), got.get("authorization"), got.get("ce-traceparent")) == (NAMESPACE, None, None)
    assert (got.get("ce-extension"), got.get("content-type"), got.body) == ("e", "a/b", data)


async def test_messages_of_another_publisher_are_delivered_and_what_is_no_event_is_not(
    jetstream: JetStreamWorld,
) -> None:
    sink = await jetstream.world.sink()
    channel = await jetstream.channel(subscriber(sink.url))
    subject = f"{NAMESPACE}.{channel.name}._knative"
    context = jetstream.nats.jetstream()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await context.publish(subject, b"no event")
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "traceparent": trace, "data": "text"}
    await context.publish(subject, json.dumps(event).encode())
    (got,) = await sink.until(1)
    assert (got.get("ce-id"), got.get("traceparent"), got.body) == ("1", trace, b'"text"')


async def test_an_event_larger_than_nats_takes_is_413(jetstream: JetStreamWorld) -> None:
    channel = await jetstream.channel()
    answer = await jetstream.world.send(channel, "Content-Type: a/b", body=b"\xff" * (1 << 20))
    assert answer.status == 413
    assert b"max_payload" in answer.body
