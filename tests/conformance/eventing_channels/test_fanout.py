"""What subscribers of in-memory channels get and senders hear, by statement (spec eventing-channels.md, 17 to 53)."""

import asyncio
import base64
import time

import pytest

from kube.models.messaging import InMemoryChannel
from tests.support.dispatcher import EVENT, SYSTEM, Got, Reply, Sink, World, dead_letters_to, subscriber
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSED = "http://127.0.0.1:1/"
REPLY = Reply(
    200,
    ("Ce-Specversion: 1.0", "Ce-Id: 2", "Ce-Source: /r", "Ce-Type: reply", "Knative-R: y", "X-Own: no"),
    b"answer",
)
LATE_S = 5.0
"""How much later than asked something may come on a busy machine."""


def attributes(got: Got) -> dict[str, str]:
    return {name.lower()[3:]: value for name, value in got.lines if name.lower().startswith("ce-")}


def error_data(got: Got) -> bytes:
    return base64.b64decode(attributes(got)["knativeerrordata"])


async def test_17_each_subscription_gets_one_post(world: World) -> None:
    sinks = [await world.sink(), await world.sink()]
    channel = await world.channel(*(subscriber(sink.url) for sink in sinks))
    assert (await world.send(channel)).status == 202
    assert [[got.method for got in sink.got] for sink in sinks] == [["POST"], ["POST"]]


async def test_17_two_subscriptions_with_one_subscriber_are_two_posts(world: World) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url), subscriber(sink.url))
    assert (await world.send(channel)).status == 202
    assert len(sink.got) == 2


async def test_18_nobody_hears_202_before_the_slowest_has_answered(world: World) -> None:
    quick, slow = await world.sink(), await world.sink()
    slow.gate.clear()
    channel = await world.channel(subscriber(quick.url), subscriber(slow.url))
    sending = asyncio.create_task(world.send(channel))
    await quick.until(1)
    await slow.until(1)
    assert not sending.done()
    slow.gate.set()
    assert (await sending).status == 202


async def test_19_one_that_refuses_makes_it_500_and_the_others_get_the_event(world: World) -> None:
    good, bad = await world.sink(), await world.sink(400)
    channel = await world.channel(subscriber(bad.url), subscriber(good.url))
    answer = await world.send(channel)
    assert answer.status == 500
    assert len(good.got) == len(bad.got) == 1


@pytest.mark.parametrize("text", ["true", "1", "T"])
async def test_20_an_async_channel_answers_before_the_dispatch(world: World, text: str) -> None:
    bad, slow = await world.sink(400), await world.sink()
    slow.gate.clear()
    channel = await world.channel(
        subscriber(bad.url), subscriber(slow.url), annotations={"messaging.knative.dev/async-handler": text}
    )
    assert (await world.send(channel)).status == 202
    await bad.until(1)
    await slow.until(1)
    slow.gate.set()


async def test_20_any_other_text_is_not_async(world: World) -> None:
    bad = await world.sink(400)
    channel = await world.channel(subscriber(bad.url), annotations={"messaging.knative.dev/async-handler": "yes"})
    assert (await world.send(channel)).status == 500


async def test_21_attributes_and_data_arrive_as_they_were_sent(world: World) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url))
    more = {
        "subject": "s u b",
        "time": "2020-01-02T03:04:05.678901234+02:00",
        "dataschema": "http://a/b#c",
        "extension": "Grüße",
    }
    lines = [f"Ce-{name.title()}: {value}" for name, value in more.items()]
    assert (await world.send(channel, *lines, "Content-Type: text/x; y=z", body=b"\x00\xff\r\n")).status == 202
    (got,) = sink.got
    known = {"specversion": "1.0", "id": "1", "source": "/source", "type": "type", **more}
    assert {name: value.encode("latin-1").decode() for name, value in attributes(got).items()} == known
    assert got.get("content-type") == "text/x; y=z"
    assert got.body == b"\x00\xff\r\n"


async def test_23_24_25_what_is_passed_on_and_what_is_not(world: World) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url))
    trace = "0af7651916cd43dd8448eb211c80319c"
    passed = ("X-Request-Id: r", "Knative-Foo: f", "X-B3-Sampled: 1", "Retry-After: 5", "Knative-Foo: g")
    dropped = ("Authorization: Bearer x", "Cookie: c", "X-Custom: c", "Kn-Namespace: other", "Prefer: other")
    await world.send(channel, *passed, *dropped, f"traceparent: 00-{trace}-b7ad6b7169203331-01")
    (got,) = sink.got
    assert got.get("prefer") == "reply"
    assert got.get("kn-namespace") == "ns"
    assert got.all("knative-foo") == ["f", "g"]
    assert [got.get(name) for name in ("x-request-id", "x-b3-sampled", "retry-after")] == ["r", "1", "5"]
    assert (got.get("traceparent") or "").split("-")[1] == trace
    assert [got.get(name) for name in ("authorization", "cookie", "x-custom")] == [None, None, None]


async def test_26_retry_three_makes_four_attempts(world: World) -> None:
    sink = await world.sink(503)
    channel = await world.channel(subscriber(sink.url, delivery={"retry": 3}))
    assert (await world.send(channel)).status == 500
    assert len(sink.got) == 4


@pytest.mark.parametrize("delivery", [None, {}])
async def test_27_without_retries_there_is_one_attempt(world: World, delivery: dict[str, str] | None) -> None:
    sink = await world.sink(503)
    channel = await world.channel(subscriber(sink.url, delivery=delivery))
    assert (await world.send(channel)).status == 500
    assert len(sink.got) == 1


async def test_28_29_which_statuses_are_retried(world: World) -> None:
    retried = [404, 408, 409, 429, 500, 501, 503]
    final = [400, 401, 403, 405, 410, 413, 415, 422, 301, 307]
    sinks = {status: await world.sink(status) for status in (*retried, *final)}
    channel = await world.channel(*(subscriber(sink.url, delivery={"retry": 1}) for sink in sinks.values()))
    assert (await world.send(channel)).status == 500
    assert {status: len(sink.got) for status, sink in sinks.items()} == {
        **dict.fromkeys(retried, 2),
        **dict.fromkeys(final, 1),
    }


async def test_30_a_refused_connection_is_retried(world: World) -> None:
    sink = Sink()
    await sink.start()
    url = sink.url
    await sink.stop()
    channel = await world.channel(
        subscriber(url, delivery={"retry": 1000, "backoffPolicy": "exponential", "backoffDelay": "PT0.1S"})
    )
    sending = asyncio.create_task(world.send(channel))
    await asyncio.sleep(0)
    sink._server = await asyncio.start_server(sink._accept, "127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))
    world.stack.push_async_callback(sink.stop)
    assert (await sending).status == 202
    assert len(sink.got) == 1


async def test_31_to_34_gaps(world: World) -> None:
    """All at once, as they take their time."""
    wanted: list[tuple[int, dict[str, str], list[float]]] = [
        (31, {"backoffPolicy": "linear", "backoffDelay": "PT0.2S"}, [0, 0.2, 0.4]),
        (32, {"backoffPolicy": "exponential", "backoffDelay": "PT0.1S"}, [0.1, 0.2, 0.4]),
        (33, {"backoffPolicy": "linear"}, [0, 0, 0]),
        (33, {"backoffDelay": "PT5S"}, [0, 0, 0]),
        (34, {"backoffPolicy": "exponential", "backoffDelay": "PT0.19S"}, [0.1, 0.2, 0.4]),
    ]
    sinks = [await world.sink(500) for _ in wanted]
    channel = await world.channel(
        *(
            subscriber(sink.url, delivery={"retry": 3, **delivery})
            for sink, (_, delivery, _) in zip(sinks, wanted, strict=True)
        )
    )
    assert (await world.send(channel)).status == 500
    for sink, (statement, _, gaps_s) in zip(sinks, wanted, strict=True):
        assert len(sink.gaps_s) == 3
        for gap_s, wanted_s in zip(sink.gaps_s, gaps_s, strict=True):
            assert wanted_s - 0.02 <= gap_s <= wanted_s + LATE_S, (statement, sink.gaps_s)


async def test_35_a_subscriber_that_takes_too_long_is_abandoned_and_retried(world: World) -> None:
    sink = await world.sink()
    sink.gate.clear()
    channel = await world.channel(subscriber(sink.url, delivery={"retry": 1, "timeout": "PT0.3S"}))
    begun_s = time.monotonic()
    assert (await world.send(channel)).status == 500
    assert time.monotonic() - begun_s >= 0.6
    await eventually(lambda: sink.gone == 2)


async def test_36_retry_after_counts_up_to_its_maximum(world: World) -> None:
    gaps_s = {"1": 1.0, "60": 1.2, "soon": 0.0}
    sinks = {value: await world.sink(Reply(429, (f"Retry-After: {value}",)), 200) for value in gaps_s}
    delivery = {"retry": 1, "retryAfterMax": "PT1.2S"}
    channel = await world.channel(*(subscriber(sink.url, delivery=delivery) for sink in sinks.values()))
    assert (await world.send(channel)).status == 202
    for value, gap_s in gaps_s.items():
        assert gap_s - 0.02 <= sinks[value].gaps_s[0] <= gap_s + LATE_S, value


async def test_37_without_its_maximum_retry_after_is_ignored(world: World) -> None:
    sink = await world.sink(Reply(429, ("Retry-After: 60",)), 200)
    channel = await world.channel(subscriber(sink.url, delivery={"retry": 1}))
    assert (await world.send(channel)).status == 202
    assert sink.gaps_s[0] < LATE_S


async def test_38_one_failure_with_one_retry_is_a_success_without_a_dead_letter(world: World) -> None:
    sink, dead = await world.sink(500, 200), await world.sink()
    channel = await world.channel(subscriber(sink.url, delivery=dead_letters_to(dead.url, retry=1)))
    assert (await world.send(channel)).status == 202
    assert not dead.got


@pytest.mark.parametrize("status", [200, 202])
async def test_39_41_43_a_reply_is_posted_to_the_reply_address(world: World, status: int) -> None:
    sink, reply = await world.sink(Reply(status, REPLY.lines, REPLY.body)), await world.sink()
    channel = await world.channel(subscriber(sink.url, replyUri=reply.url))
    assert (await world.send(channel, "X-Request-Id: r")).status == 202
    (got,) = reply.got
    assert attributes(got) == {"specversion": "1.0", "id": "2", "source": "/r", "type": "reply"}
    assert got.body == b"answer"
    assert got.get("knative-r") == "y"
    assert got.get("kn-namespace") == "ns"
    assert [got.get(name) for name in ("prefer", "x-own", "x-request-id")] == [None, None, None]


async def test_40_a_structured_reply_stays_structured(world: World) -> None:
    body = b'{"specversion":"1.0", "id":"2","source":"/r","type":"t"}'
    sink = await world.sink(Reply(200, ("Content-Type: application/cloudevents+json; charset=utf-8",), body))
    reply = await world.sink()
    channel = await world.channel(subscriber(sink.url, replyUri=reply.url))
    assert (await world.send(channel)).status == 202
    assert reply.got[0].body == body
    assert reply.got[0].get("content-type") == "application/cloudevents+json; charset=utf-8"


async def test_42_a_response_that_is_no_event_is_no_reply(world: World) -> None:
    sink, reply = await world.sink(Reply(200, ("Content-Type: text/plain",), b"ok")), await world.sink()
    channel = await world.channel(subscriber(sink.url, replyUri=reply.url))
    assert (await world.send(channel)).status == 202
    assert not reply.got


async def test_44_a_reply_without_an_address_is_dropped(world: World) -> None:
    channel = await world.channel(subscriber((await world.sink(REPLY)).url))
    assert (await world.send(channel)).status == 202


async def test_45_49_a_reply_that_fails_is_retried_alone_and_ends_in_a_dead_letter(world: World) -> None:
    sink, reply, dead = await world.sink(REPLY), await world.sink(Reply(503, (), b"full")), await world.sink()
    channel = await world.channel(subscriber(sink.url, replyUri=reply.url, delivery=dead_letters_to(dead.url, retry=2)))
    assert (await world.send(channel)).status == 202
    assert (len(sink.got), len(reply.got), len(dead.got)) == (1, 3, 1)
    (got,) = dead.got
    assert attributes(got)["knativeerrordest"] == reply.url
    assert attributes(got)["knativeerrorcode"] == "503"
    assert attributes(got)["id"] == "1"
    assert error_data(got) == b"full"


async def test_45_a_reply_that_fails_without_a_sink_is_500(world: World) -> None:
    sink, reply = await world.sink(REPLY), await world.sink(400)
    channel = await world.channel(subscriber(sink.url, replyUri=reply.url))
    assert (await world.send(channel)).status == 500
    assert len(sink.got) == 1


async def test_46_47_the_sink_gets_the_event_and_why_it_failed(world: World) -> None:
    sink, dead = await world.sink(Reply(410, (), b"x" * 5000)), await world.sink()
    channel = await world.channel(subscriber(sink.url, delivery=dead_letters_to(dead.url)))
    assert (await world.send(channel, "Ce-Own: o", "Content-Type: text/plain", body=b"data")).status == 202
    (got,) = dead.got
    found = attributes(got)
    assert (found["id"], found["own"], got.body, got.get("content-type")) == ("1", "o", b"data", "text/plain")
    assert found["knativeerrordest"] == sink.url
    assert found["knativeerrorcode"] == "410"
    assert found["knativeerrordata"] == base64.b64encode(b"x" * 5000).decode()[:1024]


async def test_48_no_response_is_500_and_a_dispatch_error(world: World) -> None:
    dead = await world.sink()
    channel = await world.channel(subscriber(REFUSED, delivery=dead_letters_to(dead.url)))
    assert (await world.send(channel)).status == 202
    assert attributes(dead.got[0])["knativeerrorcode"] == "500"
    assert error_data(dead.got[0]).startswith(b"dispatch error: ")


async def test_50_the_first_failure_is_kept(world: World) -> None:
    dead = await world.sink()
    channel = await world.channel(subscriber(REFUSED, delivery=dead_letters_to(dead.url)))
    await world.send(channel, "Ce-Knativeerrordest: http://first/")
    assert attributes(dead.got[0])["knativeerrordest"] == "http://first/"


async def test_51_52_a_sink_is_retried_without_prefer_and_500_when_it_fails(world: World) -> None:
    dead = await world.sink(503)
    channel = await world.channel(subscriber(REFUSED, delivery=dead_letters_to(dead.url, retry=1)))
    assert (await world.send(channel)).status == 500
    assert [got.get("prefer") for got in dead.got] == [None, None]


async def test_53_a_failure_at_the_broker_filter_is_its_subscribers(world: World) -> None:
    told = b'{"errdestination":"http://subscriber/","errresponsebody":"Z29uZQ=="}'
    filter_, dead = await world.sink(Reply(410, (), told), Reply(410, (), b"odd")), await world.sink()
    url = await world.service("broker-filter", SYSTEM, filter_)
    channel = await world.channel(subscriber(f"{url}triggers/ns/t/uid", delivery=dead_letters_to(dead.url)))
    assert (await world.send(channel)).status == 202
    assert filter_.got[0].target == "/triggers/ns/t/uid"
    assert attributes(dead.got[0])["knativeerrordest"] == "http://subscriber/"
    assert attributes(dead.got[0])["knativeerrorcode"] == "410"
    assert error_data(dead.got[0]) == b"gone"
    assert (await world.send(channel)).status == 202
    assert not [name for name in attributes(dead.got[1]) if name.startswith("knativeerror")]


async def test_a_sender_that_leaves_takes_its_deliveries_along(world: World) -> None:
    slow, failing = await world.sink(), await world.sink(500)
    slow.gate.clear()
    delivery = {"retry": 5, "backoffPolicy": "exponential", "backoffDelay": "PT0.4S"}
    channel = await world.channel(subscriber(slow.url), subscriber(failing.url, delivery=delivery))
    _, writer = await asyncio.open_connection(world.address, 8080)
    writer.write("\r\n".join([f"POST / HTTP/1.1\r\nHost: {channel.host}", *EVENT, "", ""]).encode())
    await slow.until(1)
    await failing.until(1)
    writer.transport.abort()
    await eventually(lambda: slow.gone == 1)
    # Whoever waits for its next attempt is not asked again: what is sent later arrives, and nothing else.
    assert (await world.send(await world.channel(subscriber(failing.url)))).status == 500
    assert len(failing.got) == 2


async def test_subscriptions_may_change_while_events_are_under_way(world: World) -> None:
    first, second = await world.sink(), await world.sink()
    channel = await world.channel(subscriber(first.url))
    first.gate.clear()
    sending = asyncio.create_task(world.send(channel))
    await first.until(1)
    added = subscriber(second.url)
    await world.client.patch(
        InMemoryChannel,
        channel.name,
        "ns",
        [{"op": "replace", "path": "/spec/subscribers", "value": [added]}],
        type="json",
    )
    await world.subscribed(channel.name, (added,))
    assert (await world.send(channel)).status == 202
    first.gate.set()
    assert (await sending).status == 202
    assert (len(first.got), len(second.got)) == (1, 1)
