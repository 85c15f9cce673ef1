"""Statements 47 to 68: what the filter takes, sends to subscribers, and makes of their answers."""

import asyncio
import json

import pytest

from kube.models.eventing import Broker, Trigger
from kube.models.meta import ObjectMeta
from tests.conformance.eventing_broker.world import (
    DATA,
    EVENT,
    STRUCTURED,
    TTL,
    World,
    attributes_of,
    decoded,
    running_sink,
    structured,
)
from tests.support.http import Call, Client, running_app
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPLY = ["ce-specversion: 1.0", "ce-id: r", "ce-source: /reply", "ce-type: b", "Content-Type: text/plain"]


async def test_statement_47_only_post(world: World) -> None:
    for method in ("GET", "OPTIONS", "PUT"):
        response = await world.dispatch("/triggers/ns/name/uid", method=method)
        assert (response.status, response.value("allow")) == (405, "POST")


async def test_statements_48_to_51_what_is_not_found(world: World) -> None:
    async with running_sink() as subscriber:
        trigger = await world.trigger(subscriber)
        for target in ("/triggers/ns/name", "/foo/ns/name/uid", "/", "/triggers/ns/name/uid/reply/more"):
            assert (await world.dispatch(target)).status == 400, target
        assert (await world.dispatch("/triggers/ns/unknown/uid")).status == 404
        assert (await world.dispatch(f"/triggers/ns/{trigger.name}/other")).status == 400
        assert (await world.dispatch(world.path(trigger) + "?x")).status == 400
        assert (await world.dispatch(trigger, ["Content-Type: application/json"], DATA)).status == 400
        assert (await world.dispatch(trigger, [STRUCTURED.replace("events+", "events-batch+")], b"[]")).status == 400
        assert (await world.dispatch(trigger, leg="/anything")).status == 202
        assert len(subscriber.bodies) == 1


@pytest.mark.parametrize("ttl", [None, "abc", ""])
async def test_statement_52_an_event_without_passages(world: World, ttl: str | None) -> None:
    async with running_sink() as subscriber:
        # Also where the Trigger would not want it.
        trigger = await world.trigger(subscriber, spec={"filter": {"attributes": {"type": "other"}}})
        headers = EVENT if ttl is None else [*EVENT, f"ce-knativebrokerttl: {ttl}"]
        response = await world.dispatch(trigger, headers)
        assert response.status == 400
        assert b"knativebrokerttl" in response.body
        assert subscriber.bodies == []


async def test_statement_53_a_trigger_without_a_subscriber(world: World) -> None:
    trigger = await world.trigger(None)
    assert (await world.dispatch(trigger)).status == 404


async def test_statement_54_what_is_filtered_out(world: World) -> None:
    async with running_sink() as subscriber:
        trigger = await world.trigger(subscriber, spec={"filters": [{"exact": {"type": "other"}}]})
        response = await world.dispatch(trigger)
        assert (response.status, response.body) == (200, b"")
        assert subscriber.bodies == []


async def test_statements_55_and_56_what_the_subscriber_sees(world: World) -> None:
    async with running_sink() as subscriber:
        trigger = await world.trigger(subscriber, namespace="other")
        arrival = "2026-01-02T03:04:05.6Z"
        headers = [*EVENT, TTL, f"ce-knativearrivaltime: {arrival}", "Content-Type: text/x", "X-Request-Id: 5"]
        others = ["Prefer: reply", "Kn-Namespace: ns", "Authorization: Bearer x", "Cookie: y"]
        assert (await world.dispatch(trigger, [*headers, *others], b"data")).status == 202
        call, data = await subscriber.call()
        assert data == b"data"
        assert attributes_of(call) == {"specversion": "1.0", "id": "1", "source": "/test", "type": "a"}
        assert call.values("ce-knativebrokerttl") == []
        assert call.values("ce-knativearrivaltime") == [arrival]
        assert call.values("content-type") == ["text/x"]
        assert call.values("x-request-id") == ["5"]
        assert (call.values("kn-namespace"), call.values("prefer")) == (["other"], ["reply"])
        assert call.values("authorization") == call.values("cookie") == []


async def test_statement_57_the_format_of_a_trigger(world: World) -> None:
    async with running_sink() as subscriber:
        trigger = await world.trigger(subscriber, spec={"delivery": {"format": "json"}})
        assert (await world.dispatch(trigger, [*EVENT, TTL, "Content-Type: application/json"], DATA)).status == 202
        assert (await world.dispatch(trigger, [*EVENT, TTL, "ce-foo: b\u00fc", "Content-Type: text/x"], b"\xff")).status
        call, body = await subscriber.call()
        assert call.values("content-type") == ["application/cloudevents+json"]
        assert [name for name, _ in call.fields if name.lower().startswith("ce-")] == []
        assert body.endswith(b'"data":' + DATA + b"}")
        content = json.loads(body)
        assert (content["type"], content["datacontenttype"]) == ("a", "application/json")
        assert "knativebrokerttl" not in content
        _, second = await subscriber.call(1)
        assert json.loads(second)["data_base64"] == "/w=="
        binary = await world.trigger(subscriber, spec={"delivery": {"format": "binary"}})
        assert (await world.dispatch(binary, [STRUCTURED], structured(DATA, knativebrokerttl=5))).status == 202
        call, body = await subscriber.call(2)
        assert (call.values("ce-type"), body) == (["a"], DATA)


@pytest.mark.parametrize("status", [500, 503, 404])
async def test_statement_58_one_attempt(world: World, status: int) -> None:
    async with running_sink(status) as subscriber:
        trigger = await world.trigger(subscriber)
        assert (await world.dispatch(trigger)).status == status
        assert len(subscriber.bodies) == 1


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_statement_59_success_without_a_reply(world: World, status: int) -> None:
    async with running_sink(status) as subscriber:
        trigger = await world.trigger(subscriber)
        response = await world.dispatch(trigger)
        assert (response.status, response.body) == (status, b"")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(["Content-Type: text/plain"], b"ok", id="60"),
        pytest.param(["ce-specversion: 9.0", "ce-id: 1"], b"ok", id="unknown version"),
        pytest.param([STRUCTURED], b'{"specversion":', id="64"),
        pytest.param([STRUCTURED], b"", id="64 empty"),
        pytest.param([*REPLY, "ce-foo-bar: x"], b"", id="7.1 malformed"),
        pytest.param(["Content-Type: application/cloudevents-batch+json"], b"[]", id="7.1 batch"),
    ],
)
async def test_statements_60_and_64_replies_that_are_no_events(world: World, headers: list[str], body: bytes) -> None:
    async with running_sink(200, body, *headers) as subscriber:
        trigger = await world.trigger(subscriber)
        assert (await world.dispatch(trigger)).status == 502


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize("own", [[], ["ce-knativebrokerttl: 77"]])
async def test_statements_61_to_63_replies(world: World, status: int, own: list[str]) -> None:
    async with running_sink(status, b"reply", *REPLY, *own) as subscriber:
        trigger = await world.trigger(subscriber)
        response = await world.dispatch(trigger, [*EVENT, "ce-knativebrokerttl: 9"])
        assert (response.status, response.body) == (status, b"reply")
        assert response.value("ce-type") == "b"
        assert response.value("content-type") == "text/plain"
        assert response.value("ce-knativebrokerttl") == "9"


async def test_statement_61_structured_replies_come_back_in_binary_mode(world: World) -> None:
    async with running_sink(200, structured(DATA, id="r", n=5, knativebrokerttl=3), STRUCTURED) as subscriber:
        trigger = await world.trigger(subscriber)
        response = await world.dispatch(trigger)
        assert (response.status, response.body) == (200, DATA)
        assert (response.value("ce-id"), response.value("ce-n")) == ("r", "5")
        assert response.value("ce-knativebrokerttl") == "9"
        assert response.values("content-type") == []


@pytest.mark.parametrize("status", [404, 429, 503, 302])
async def test_statement_65_what_the_subscriber_refuses(world: World, status: int) -> None:
    async with running_sink(status, b"n\xff\n", "Content-Type: text/x", "Location: /elsewhere") as subscriber:
        trigger = await world.trigger(subscriber)
        response = await world.dispatch(trigger)
        assert response.status == status
        content = json.loads(response.body)
        assert content["errdestination"] == subscriber.url
        assert decoded(content["errresponsebody"]) == b"n\xff\n"
        assert len(subscriber.bodies) == 1


async def test_a_long_answer_is_told_in_part(world: World) -> None:
    async with running_sink(500, b"x" * (5 << 20)) as subscriber:
        trigger = await world.trigger(subscriber)
        content = json.loads((await world.dispatch(trigger)).body)
        assert decoded(content["errresponsebody"]) == b"x" * (64 << 10)


@pytest.mark.parametrize(("status", "reply"), [(200, []), (200, REPLY), (429, []), (200, [STRUCTURED])])
async def test_statement_66_headers_of_the_answer(world: World, status: int, reply: list[str]) -> None:
    own = ["Retry-After: 7", "Knative-A: 1", "Knative-A: 2", "X-Request-Id: 3", "Set-Cookie: c", "X-Own: o"]
    async with running_sink(status, b"", *own, *reply) as subscriber:
        trigger = await world.trigger(subscriber)
        response = await world.dispatch(trigger)
        assert response.values("retry-after") == ["7"]
        assert response.values("knative-a") == ["1", "2"]
        assert response.values("x-request-id") == ["3"]
        assert response.values("set-cookie") == response.values("x-own") == []


async def test_statement_67_a_subscriber_that_nobody_is_behind(world: World) -> None:
    async with running_sink() as subscriber:
        trigger = await world.trigger(subscriber)
    response = await world.dispatch(trigger)
    assert response.status == 500
    content = json.loads(response.body)
    assert content["errdestination"] == subscriber.url
    assert decoded(content["errresponsebody"]).startswith(b"dispatch error: ")


async def test_a_reply_that_breaks_off_is_500(world: World) -> None:
    async def answer(call: Call) -> None:
        await call.send(
            "\r\n".join(["HTTP/1.1 200 OK", "Content-Length: 100", "Knative-A: 1", *REPLY, "", "half"]).encode()
        )
        call.close()

    async with running_app(answer) as subscriber:
        trigger = await world.trigger(f"http://127.0.0.1:{subscriber.port}/")
        response = await world.dispatch(trigger)
        assert (response.status, response.values("knative-a")) == (500, ["1"])
        assert response.values("ce-id") == []
        assert b"errdestination" not in response.body
        assert len(subscriber.calls) == 1


async def test_a_reply_beyond_the_bound_is_502(world: World) -> None:
    async with running_sink(200, bytes(5 << 20), *REPLY) as subscriber:
        trigger = await world.trigger(subscriber)
        response = await world.dispatch(trigger)
        assert response.status == 502
        assert b"too large" in response.body


async def test_statement_68_no_dead_letter_sink(world: World) -> None:
    broker = await world.broker(None)
    trigger = await world.trigger(None, spec={"broker": broker.name})
    await known_broker(world, trigger)
    response = await world.dispatch(trigger, leg="/dls")
    assert (response.status, response.body) == (200, b"")


async def known_broker(world: World, trigger: Trigger) -> None:
    async def is_known() -> bool:
        return (await world.dispatch(trigger, leg="/reply")).status != 404

    await eventually(is_known)


async def test_statement_90_the_dead_letter_sink_of_the_trigger_or_else_of_the_broker(world: World) -> None:
    async with running_sink(200, b"x", *REPLY) as own, running_sink() as brokers:
        broker = await world.broker(None, deadLetterSinkUri=brokers.url)
        first = await world.trigger(None, spec={"broker": broker.name}, deadLetterSinkUri=own.url)
        second = await world.trigger(None, spec={"broker": broker.name})
        await known_broker(world, first)
        # As it came, but for who sent it.
        headers = [*EVENT, TTL, "ce-foo: 1", "X-Custom: 2", "Authorization: Bearer ours", "Kn-Namespace: x"]
        response = await world.dispatch(first, headers, DATA, leg="/dls")
        assert (response.status, response.value("ce-type")) == (200, "b")
        call, data = await own.call()
        assert data == DATA
        assert (call.values("ce-foo"), call.values("x-custom")) == (["1"], ["2"])
        assert call.values("ce-knativebrokerttl") == ["9"]
        assert (call.values("kn-namespace"), call.values("authorization")) == (["ns"], [])
        assert (await world.dispatch(second, [STRUCTURED, TTL], structured(DATA), leg="/dls")).status == 202
        call, data = await brokers.call()
        assert (call.values("content-type"), data) == (["application/cloudevents+json"], structured(DATA))


async def test_the_reply_leg_leads_to_the_broker(world: World) -> None:
    async with running_sink() as ingress:
        broker = await world.broker(None, address={"url": ingress.url})
        trigger = await world.trigger(None, spec={"broker": broker.name})
        await known_broker(world, trigger)
        assert (await world.dispatch(trigger, leg="/reply")).status == 202
        call, _ = await ingress.call(len(ingress.bodies) - 1)
        assert call.values("ce-knativebrokerttl") == ["9"]
        orphan = await world.trigger(None, spec={"broker": "unknown"})
        assert (await world.dispatch(orphan, leg="/reply")).status == 404
        nameless = await world.client.create(Broker(metadata=ObjectMeta(name="nameless", namespace="ns")))
        lost = await world.trigger(None, spec={"broker": nameless.name})
        await known_broker(world, lost)
        assert (await world.dispatch(lost, leg="/reply")).status == 500


async def test_a_channel_that_leaves_takes_the_request_along(world: World) -> None:
    async with running_sink() as subscriber:
        trigger = await world.trigger(subscriber)
        subscriber.gate.clear()
        client = await Client.open(world.filter.host, 8080)
        await client.request(world.path(trigger), method="POST", headers=[*EVENT, TTL])
        call, _ = await subscriber.call()
        client.close()
        await call.closed()
        subscriber.gate.set()


async def test_a_subscriber_that_hangs_delays_nobody(world: World) -> None:
    async with running_sink() as slow, running_sink() as quick:
        hanging, other = await world.trigger(slow), await world.trigger(quick)
        slow.gate.clear()
        waiting = [asyncio.ensure_future(world.dispatch(hanging)) for _ in range(50)]
        await slow.call(49)
        assert (await world.dispatch(other)).status == 202
        assert not any(each.done() for each in waiting)
        slow.gate.set()
        assert {(await each).status for each in waiting} == {202}
