"""What no well-meaning peer sends: a clear error, bounded memory, nothing half-forwarded."""

import asyncio
from pathlib import Path

import pytest

from tests.conformance.eventing_broker.world import (
    EVENT,
    STRUCTURED,
    TTL,
    Process,
    World,
    running_sink,
    structured,
)
from tests.support.http import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")

MEMBERS = b'{"specversion":"1.0","id":"1","source":"/s","type":"t"'


def resident_mb(process: Process) -> float:
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def raw(world: World, data: bytes) -> int:
    """The status of the answer to these bytes; 0: none."""
    client = await Client.open(world.ingress.host, 8080)
    try:
        await client.send(data)
        return (await client.response()).status
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0
    finally:
        client.close()


def request(path: str, *lines: bytes, body: bytes = b"") -> bytes:
    head = [b"POST %s HTTP/1.1" % path.encode(), b"Host: h", b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"ce-foo: a\x00b"], id="zero"),
        pytest.param([b"ce-foo: a\x1bb"], id="escape"),
        pytest.param([b"ce-foo: a\rb"], id="carriage return"),
        pytest.param([b"ce-foo: a\x7f"], id="delete"),
        pytest.param([b"ce-foo: \xff\xfe"], id="no UTF-8"),
        pytest.param([b"ce-foo: \xed\xa0\x80"], id="half a character"),
        pytest.param([b"Content-Type: text/\xff"], id="no UTF-8 in the type"),
        pytest.param([b"ce-f\xc3\xb6\xc3\xb6: a"], id="name"),
        pytest.param([b"ce-foo : a"], id="space"),
        pytest.param([b"ce-foo: a", b" folded"], id="folded"),
    ],
)
async def test_attributes_with_bytes_that_have_no_business_there(world: World, lines: list[bytes]) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        data = request(f"/ns/{broker.name}", *(line.encode() for line in EVENT), *lines)
        assert await raw(world, data) == 400
        assert channel.bodies == []


async def test_attributes_that_come_twice_are_sent_on_once(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        more = ["ce-type: b", "CE-ID: 2", "ce-foo: 1", "Ce-Foo: 2", "ce-knativebrokerttl: 5", "ce-knativebrokerttl: 1"]
        more += ["Content-Type: text/a", "Content-Type: text/b"]
        assert (await world.produce(broker, [*EVENT, *more])).status == 202
        call, _ = await channel.call()
        assert call.values("ce-type") == ["a"]
        assert call.values("ce-id") == call.values("ce-foo") == ["1"]
        assert call.values("ce-knativebrokerttl") == ["4"]
        assert call.values("content-type") == ["text/a"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(MEMBERS + b',"foo":' + b"[" * 1_000_000, id="deep"),
        pytest.param(MEMBERS + b',"foo":' + b"9" * 1_000_000 + b"}", id="digits"),
        pytest.param(MEMBERS + b',"foo":1e999999}', id="exponent"),
        pytest.param(MEMBERS + b"," + b",".join(b'"a%d":1' % n for n in range(300_000)) + b"}", id="many"),
        pytest.param(structured(foo="a\nX-Injected: b"), id="line break"),
        pytest.param(structured(foo="a\x00"), id="zero"),
        pytest.param(MEMBERS + b',"foo":"\\ud800"}', id="half a character"),
        pytest.param(structured(**{"foo bar": "1"}), id="name"),
        pytest.param(structured(datacontenttype="a\r\nb"), id="type"),
        pytest.param(b"\xef\xbb\xbf" + structured(), id="mark"),
        pytest.param(structured().decode().encode("utf-16"), id="utf-16"),
    ],
)
async def test_json_that_is_a_trap(world: World, body: bytes) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        response = await world.produce(broker, [STRUCTURED], body)
        assert response.status == 400
        assert 0 < len(response.body) < 1200
        assert channel.bodies == []


async def test_heads_without_end_are_431(world: World) -> None:
    data = request("/ns/x", *(line.encode() for line in EVENT), b"ce-foo: " + b"x" * (2 << 20))
    assert await raw(world, data) == 431
    assert await raw(world, request("/ns/x", *(b"ce-a%d: x" % n for n in range(2000)))) == 431


async def test_bodies_beyond_the_bound_are_413_before_they_come(world: World) -> None:
    head = request("/ns/x").replace(b"Content-Length: 0", b"Content-Length: %d" % (100 << 20))
    assert await raw(world, head) == 413
    # And as soon as they are, where they do not say so.
    client = await Client.open(world.ingress.host, 8080)
    await client.send(request("/ns/x").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    sending = asyncio.ensure_future(send_until_closed(client, chunk))
    assert (await client.response()).status == 413
    client.close()
    await sending


async def send_until_closed(client: Client, chunk: bytes) -> None:
    try:
        for _ in range(100):
            await client.send(chunk)
    except ConnectionError:
        return


async def test_memory_comes_back(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        body = structured(b"[" + b"{}," * 2_000_000 + b"{}]")
        assert (await world.produce(broker, [STRUCTURED], body)).status == 202
        before_mb = resident_mb(world.ingress)
        for _ in range(4):
            assert (await world.produce(broker, [STRUCTURED], body)).status == 202
        # Nothing is built of the data: small objects would take some 150 MB each time.
        assert resident_mb(world.ingress) < before_mb + 30
        assert (await channel.call(4))[1] == body.partition(b'"data": ')[2][:-1]


async def test_a_body_that_breaks_off_is_sent_on_nowhere(world: World) -> None:
    async with running_sink() as channel:
        broker = await world.broker(channel)
        data = request(f"/ns/{broker.name}", *(line.encode() for line in EVENT), body=b"0123456789")
        client = await Client.open(world.ingress.host, 8080)
        await client.send(data[:-5])
        client.close()
        assert (await world.produce(broker)).status == 202
        assert channel.bodies == [b""]


async def test_the_filter_takes_no_such_events_either(world: World) -> None:
    async with running_sink() as subscriber:
        trigger = await world.trigger(subscriber)
        for body in (MEMBERS + b',"foo":' + b"[" * 100_000, structured(foo="a\nb", knativebrokerttl=3)):
            assert (await world.dispatch(trigger, [STRUCTURED], body)).status == 400
        assert (await world.dispatch(trigger, [*EVENT, TTL, "ce-a-b: c"])).status == 400
        assert subscriber.bodies == []


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half a head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nKnative-A: a\x00b\r\n\r\n", id="zero"),
        pytest.param(b"no http at all\r\n\r\n", id="nonsense"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_subscribers_that_talk_nonsense(world: World, reply: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        trigger = await world.trigger(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        response = await world.dispatch(trigger)
        assert response.status == 500
        assert b"errdestination" in response.body
    finally:
        server.close()
        await server.wait_closed()
