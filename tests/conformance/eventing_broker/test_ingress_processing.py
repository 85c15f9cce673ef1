"""Statements 32 to 46: what the ingress sends to the channel, and what it makes of the answer."""

import asyncio
import re

import pytest

from tests.conformance.eventing_broker.world import (
    DATA,
    EVENT,
    Process,
    World,
    attributes_of,
    environment,
    running_sink,
)
from tests.support.http import Call, Client, running_app
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_statement_32_the_time_of_arrival_is_set_anew(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        await world.produce(broker, [*EVENT, "ce-knativearrivaltime: 2000-01-01T00:00:00Z"])
        await world.produce(broker)
        for number in (0, 1):
            call, _ = await channel.call(number)
            (time,) = call.values("ce-knativearrivaltime")
            assert re.fullmatch(r"20[2-9][0-9]-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{1,9}Z", time), time


@pytest.mark.parametrize(
    ("ttl", "left"),
    [
        pytest.param(None, "255", id="33"),
        pytest.param("2", "1", id="34"),
        pytest.param("abc", "255", id="36"),
        pytest.param("1000", "999", id="37"),
        pytest.param("99999999999", "255", id="5.4 range"),
        pytest.param("3.7", "2", id="5.4 cut"),
    ],
)
async def test_statements_33_to_37_passages(world: World, ttl: str | None, left: str) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        extension = [f"CE-KnativeBrokerTTL: {ttl}"] if ttl is not None else []
        assert (await world.produce(broker, [*EVENT, *extension])).status == 202
        call, _ = await channel.call()
        assert call.values("ce-knativebrokerttl") == [left]


async def test_statement_35_an_event_that_has_been_around_too_often_is_dropped(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        for ttl in ("1", "0", "-3"):
            response = await world.produce(broker, [*EVENT, f"ce-knativebrokerttl: {ttl}"])
            assert response.status == 400
            assert b"knativebrokerttl" in response.body
        assert channel.bodies == []


async def test_statement_38_no_passages_at_all_are_a_mistake(world: World) -> None:
    environ = environment("ingress", "127.0.0.1", world.api, MAX_TTL="0")
    del environ["POD_NAME"]
    process = Process("ingress", "127.0.0.1", environ)
    await process.spawn()
    async with asyncio.timeout(20):
        assert await process.process.wait() == 1
    await process.stop()
    # Everything that is wrong is said at once.
    assert process.stderr == [
        "broker ingress: required key POD_NAME missing value\n",
        "broker ingress: MAX_TTL=0: expected 1 or more\n",
    ]


async def test_statement_39_a_broker_without_a_channel(world: World) -> None:
    broker = await world.broker(None)
    response = await world.produce(broker)
    assert response.status == 500
    assert b"has no channel" in response.body


@pytest.mark.parametrize("status", [400, 404, 429, 503, 302])
async def test_statement_40_what_the_channel_refuses_is_500(world: World, status: int) -> None:
    async with running_sink(status, b"secret", "Retry-After: 5", "Location: /elsewhere") as channel:
        broker = await world.broker(channel)
        response = await world.produce(broker)
        assert response.status == 500
        assert response.values("retry-after") == response.values("location") == []
        assert b"secret" not in response.body
        assert f": {status}".encode() in response.body or f"answered {status}".encode() in response.body
        assert len(channel.bodies) == 1


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_statement_41_what_the_channel_takes_keeps_its_status(world: World, status: int) -> None:
    body = b"" if status == 204 else b"body"
    async with running_sink(status, body, "X-Own: 1", "Knative-Own: 1") as channel:
        broker = await world.broker(channel)
        response = await world.produce(broker)
        assert (response.status, response.body) == (status, b"")
        assert response.values("x-own") == response.values("knative-own") == []


async def test_statement_42_a_channel_that_nobody_is_behind(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
    response = await world.produce(broker)
    assert response.status == 500
    assert b"refused" in response.body


async def test_a_channel_that_breaks_off_is_asked_once(world: World) -> None:
    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.1 20")
        call.close()

    async with running_app(answer) as channel:
        broker = await world.broker(f"http://127.0.0.1:{channel.port}/")
        assert (await world.produce(broker)).status == 500
        assert len(channel.calls) == 1


async def test_statements_43_to_45_headers_to_the_channel(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        passed = ["X-Request-Id: 7", "Retry-After: 1", "Knative-Foo: a", "Knative-Foo: b", "X-B3-TraceId: c"]
        traced = [f"traceparent: {TRACE_PARENT}", "tracestate: a=b", "baggage: c=d"]
        others = ["Authorization: Bearer x", "Cookie: c=d", "X-Custom: 1", "Kn-Namespace: ns", "Accept: a/b"]
        assert (await world.produce(broker, [*EVENT, *passed, *traced, *others], DATA)).status == 202
        call, _ = await channel.call()
        assert call.target == "/in?x=1"
        assert call.values("prefer") == ["reply"]
        assert call.values("knative-foo") == ["a", "b"]
        for name, value in (("x-request-id", "7"), ("retry-after", "1"), ("x-b3-traceid", "c")):
            assert call.values(name) == [value]
        assert call.values("traceparent") == [TRACE_PARENT]
        assert (call.values("tracestate"), call.values("baggage")) == (["a=b"], ["c=d"])
        for name in ("authorization", "cookie", "x-custom", "kn-namespace", "accept", "x-forwarded-for"):
            assert call.values(name) == [], name


async def test_statement_46_an_extension_called_traceparent(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        assert (await world.produce(broker, [*EVENT, "ce-traceparent: any thing"])).status == 202
        call, _ = await channel.call()
        assert attributes_of(call)["traceparent"] == "any thing"
        assert call.values("traceparent") == []


async def test_a_producer_that_leaves_takes_its_event_along(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        channel.gate.clear()
        client = await Client.open(world.ingress.host, 8080)
        await client.request(f"/ns/{broker.name}", method="POST", headers=EVENT)
        call, _ = await channel.call()
        client.close()
        await call.closed()
        channel.gate.set()
        assert (await world.produce(broker)).status == 202


async def test_a_broker_that_goes_is_not_known_any_more(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        assert (await world.produce(broker)).status == 202
        await world.client.delete(type(broker), broker.name, "ns")

        async def is_gone() -> bool:
            return (await world.produce(broker)).status == 404

        await eventually(is_gone)


async def test_event_types_are_made_from_traffic_when_that_is_wanted(world: World) -> None:
    from kube.models.eventing import EventType

    async with running_sink() as channel:
        broker = await world.broker(channel)
        await world.features(eventtype_auto_create="Enabled")
        try:
            for _ in range(3):
                assert (await world.produce(broker)).status == 202

            async def made() -> list[EventType]:
                types = (await world.client.list(EventType, "ns")).items
                return [each for each in types if each.spec.reference and each.spec.reference.name == broker.name]

            (event_type,) = await eventually(made)
        finally:
            await world.features()
        attributes = {each.name: each.value for each in event_type.spec.attributes}
        assert attributes == {"type": "a", "source": "/test", "specversion": "1.0", "id": "1"}
        assert re.fullmatch(rf"et-{broker.name}-[0-9a-f]{{32}}", event_type.name)
