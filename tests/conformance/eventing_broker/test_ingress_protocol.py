"""Statements 1 to 31: what the ingress takes, and how it is read."""

import pytest

from tests.conformance.eventing_broker.world import (
    DATA,
    EVENT,
    STRUCTURED,
    World,
    attributes_of,
    running_sink,
    structured,
)
from tests.support.http import Client, fetch

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_statement_1_every_answer_says_which_methods_are_taken(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        for response in (
            await world.produce(broker),
            await world.produce("/"),
            await world.produce("/x"),
            await world.produce(broker, []),
            await world.produce("/ns/unknown"),
            await world.produce(broker, method="GET"),
            await world.produce(broker, method="OPTIONS"),
        ):
            assert response.value("allow") == "POST, OPTIONS", response


@pytest.mark.parametrize("target", ["/", "/ns/broker", "/a/b/c", "/?x"])
@pytest.mark.parametrize("headers", [[], ["WebHook-Request-Origin: example.com", "WebHook-Request-Callback: http://x"]])
async def test_statements_2_and_3_options(world: World, target: str, headers: list[str]) -> None:
    response = await world.produce(target, headers, method="OPTIONS")
    assert (response.status, response.body) == (200, b"")
    assert response.value("webhook-allowed-origin") == "*"
    assert response.value("webhook-allowed-rate") == "*"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "get"])
async def test_statement_4_other_methods(world: World, method: str) -> None:
    client = await Client.open(world.ingress.host, 8080)
    await client.request("/ns/broker", method=method, headers=EVENT)
    response = await client.response(method=method)
    client.close()
    assert (response.status, response.body) == (405, b"")


async def test_statements_5_to_10_paths(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        path = f"/{broker.namespace}/{broker.name}"
        for target, status in (
            ("/", 404),
            ("/ns", 400),
            (f"{path}/extra", 400),
            (f"{path}/", 202),
            (f"{path}//", 400),
            (f"{path}?x=y", 404),
            (path.replace("broker", "bro%6ber"), 404),
            (path, 202),
        ):
            assert (await world.produce(target)).status == status, target
        assert len(channel.bodies) == 2


async def test_statements_11_and_12_an_invalid_event_beats_an_unknown_broker(world: World) -> None:
    assert (await world.produce("/ns/unknown")).status == 404
    assert (await world.produce("/ns/unknown", EVENT[1:])).status == 400
    assert (await world.produce("/ns/unknown", [*EVENT, "ce-knativebrokerttl: 0"])).status == 404


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        pytest.param(["Content-Type: application/json"], b"ce-specversion", id="13"),
        pytest.param(["ce-specversion: 19.0", *EVENT[1:]], b"ce-specversion", id="14"),
        pytest.param(EVENT[1:], b"ce-specversion", id="17"),
        pytest.param([EVENT[0], *EVENT[2:]], b"id: expected a value", id="18 id"),
        pytest.param([*EVENT[:2], EVENT[3]], b"source: expected a value", id="18 source"),
        pytest.param(EVENT[:3], b"type: expected a value", id="18 type"),
        pytest.param([EVENT[0], "ce-id: ", *EVENT[2:]], b"id: expected a value", id="19"),
        pytest.param([*EVENT, "ce-time: yesterday"], b"time: expected a time", id="20"),
        pytest.param([*EVENT, "ce-foo-bar: x"], b"'foo-bar'", id="21"),
        pytest.param([*EVENT, "ce-: x"], b"letters and digits, got ''", id="4.2"),
        pytest.param([*EVENT, "Content-Type: text/"], b"datacontenttype: expected a media type", id="4.4 text/"),
        pytest.param([*EVENT, "Content-Type: x;y"], b"datacontenttype: expected a media type", id="4.4 x;y"),
        pytest.param([*EVENT, "ce-dataschema: relative"], b"dataschema: expected an absolute URI", id="4.4 schema"),
        pytest.param([*EVENT, "Content-Type: application/cloudevents-batch+json"], b"got a batch", id="25"),
    ],
)
async def test_statements_13_to_25_what_is_no_event(world: World, headers: list[str], reason: bytes) -> None:
    response = await world.produce("/ns/unknown", headers, DATA)
    assert response.status == 400
    assert reason in response.body


@pytest.mark.parametrize("version", ["1.0", "0.3"])
async def test_statements_15_and_16_both_versions_are_taken_and_kept(world: World, version: str) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        headers = [f"ce-specversion: {version}", *EVENT[1:]]
        assert (await world.produce(broker, headers)).status == 202
        call, _ = await channel.call()
        assert call.values("ce-specversion") == [version]


@pytest.mark.parametrize("parameters", ["", "; charset=utf-8"])
async def test_statements_22_to_24_structured_events_leave_in_binary_mode(world: World, parameters: str) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        body = structured(DATA, datacontenttype="application/json", foo="bar", n=5, b=True, subject="S")
        # What the headers say besides does not count, however wrong it is.
        headers = [STRUCTURED + parameters, "ce-id: other", "ce-foo-bar: x", "ce-time: never"]
        assert (await world.produce(broker, headers, body)).status == 202
        call, data = await channel.call()
        assert data == DATA
        assert call.values("content-type") == ["application/json"]
        assert attributes_of(call) == {
            "specversion": "1.0",
            "id": "1",
            "source": "/test",
            "type": "a",
            "subject": "S",
            "foo": "bar",
            "n": "5",
            "b": "true",
        }


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(structured(foo={"a": 1}), id="26 object"),
        pytest.param(structured(foo=[1]), id="26 array"),
        pytest.param(structured(foo=1 << 31), id="27"),
        pytest.param(structured(foo=-(1 << 31) - 1), id="27 below"),
        pytest.param(structured(specversion=...), id="version"),
        pytest.param(structured(id=...), id="id"),
        pytest.param(structured(source=""), id="source"),
        pytest.param(structured(data_base64="!"), id="base64"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"{", id="broken"),
        pytest.param(b"", id="empty"),
    ],
)
async def test_statements_26_and_27_what_is_no_structured_event(world: World, body: bytes) -> None:
    assert (await world.produce("/ns/unknown", [STRUCTURED], body)).status == 400


async def test_statements_28_and_29_null_is_absent_and_no_type_is_made_up(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        assert (await world.produce(broker, [STRUCTURED], structured(DATA, foo=None))).status == 202
        call, data = await channel.call()
        assert data == DATA
        assert call.values("ce-foo") == call.values("content-type") == []


@pytest.mark.parametrize(
    "content_type",
    ["application/xml", "application/vnd.apache.thrift.binary", "application/json", "garbage", "a/b; c=d"],
)
async def test_statement_30_data_of_any_type_goes_through_unchanged(world: World, content_type: str) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        data = bytes(range(256))
        assert (await world.produce(broker, [*EVENT, f"Content-Type: {content_type}"], data)).status == 202
        call, received = await channel.call()
        assert (received, call.values("content-type")) == (data, [content_type])


async def test_statement_31_megabytes_are_taken(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        data = bytes(range(256)) * (8 << 12)
        assert (await world.produce(broker, EVENT, data)).status == 202
        assert (await channel.call())[1] == data


async def test_chunked_events_are_taken(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        client = await Client.open(world.ingress.host, 8080)
        headers = [*EVENT, "Transfer-Encoding: chunked"]
        await client.request(f"/ns/{broker.name}", method="POST", headers=headers)
        await client.send(b"3\r\nabc\r\n")
        await client.send(b"2\r\nde\r\n0\r\n\r\n")
        assert (await client.response()).status == 202
        assert (await channel.call())[1] == b"abcde"
        client.close()


async def test_statements_91_to_93_probes(world: World) -> None:
    for process in (world.ingress, world.filter):
        for method, target in (("GET", "/healthz"), ("POST", "/ns/name"), ("DELETE", "/a/b/c")):
            probe = await fetch(process.host, 8080, target, method=method, headers=["User-Agent: kube-probe/1.30"])
            assert (probe.status, probe.body) == (200, b"")
        headers = ["K-Network-Probe: probe"]
        routed = await fetch(process.host, 8080, "/", headers=[*headers, "K-Network-Hash: h"])
        assert (routed.status, routed.value("k-network-hash")) == (200, "h")
        assert (await fetch(process.host, 8080, "/", headers=headers)).status == 400
        assert (await fetch(process.host, 8080, "/healthz")).status == 405
