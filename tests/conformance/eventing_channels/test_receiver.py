"""The receiver of in-memory channels, by statement (spec eventing-channels.md, 1 to 14 and 16)."""

import asyncio

import pytest

from kube.errors import NotFound
from kube.models.messaging import InMemoryChannel
from tests.support.dispatcher import EVENT, World, subscriber
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRUCTURED = "Content-Type: application/cloudevents+json"
BODY = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","n":7,"data":{ "a":1 }}'


async def test_1_every_answer_of_a_known_channel_says_what_is_allowed(world: World) -> None:
    channel = await world.channel()
    for method in ("POST", "OPTIONS", "GET"):
        answer = await world.request(method, channel.path)
        assert answer.value("allow") == "POST, OPTIONS"
    assert (await world.send(channel)).value("allow") == "POST, OPTIONS"


async def test_2_options_says_that_everything_may_be_sent_from_anywhere(world: World) -> None:
    channel = await world.channel()
    answer = await world.request("OPTIONS", "/", host=channel.host)
    assert answer.status == 200
    assert answer.value("webhook-allowed-origin") == "*"
    assert answer.value("webhook-allowed-rate") == "*"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
async def test_3_other_methods_are_not_allowed(world: World, method: str) -> None:
    channel = await world.channel()
    assert (await world.request(method, channel.path)).status == 405


async def test_4_an_event_without_subscribers_is_accepted_with_an_empty_answer(world: World) -> None:
    answer = await world.send(await world.channel())
    assert (answer.status, answer.body) == (202, b"")


@pytest.mark.parametrize("version", ["1.0", "0.3"])
async def test_5_6_both_versions_are_accepted_and_kept(world: World, version: str) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url))
    event = (f"Ce-Specversion: {version}", *EVENT[1:])
    assert (await world.send(channel, event=event)).status == 202
    assert sink.got[0].get("ce-specversion") == version


@pytest.mark.parametrize("kind", ["application/xml", "application/json", "application/vnd.apache.thrift.binary"])
async def test_7_binary_events_of_any_type_are_accepted(world: World, kind: str) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url))
    assert (await world.send(channel, f"Content-Type: {kind}", body=b"\x00<a/>")).status == 202
    assert sink.got[0].get("content-type") == kind
    assert sink.got[0].body == b"\x00<a/>"


async def test_7_22_structured_events_are_accepted_and_leave_in_binary_mode(world: World) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url))
    answer = await world.send(channel, STRUCTURED, "Ce-Id: ignored", event=(), body=BODY)
    assert answer.status == 202
    (got,) = sink.got
    assert [got.get(f"ce-{name}") for name in ("specversion", "id", "source", "type", "n")] == [
        "1.0",
        "1",
        "/s",
        "t",
        "7",
    ]
    assert got.body == b'{ "a":1 }'
    assert got.get("content-type") is None, "it had no datacontenttype"


@pytest.mark.parametrize("missing", range(4))
async def test_8_a_binary_event_that_lacks_an_attribute_is_400(world: World, missing: int) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url))
    answer = await world.send(channel, event=(*EVENT[:missing], *EVENT[missing + 1 :]))
    assert answer.status == 400
    assert b"expected" in answer.body
    assert not sink.got


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ((*EVENT, "Content-Type: application/cloudevents-batch+json"), b"[]"),
        ((STRUCTURED,), b"{"),
        ((STRUCTURED,), b"[" * 100_000),
        ((STRUCTURED,), b'{"specversion":"1.0","id":"1","source":"/s","type":"t","o":{}}'),
        ((*EVENT, "Ce-Foo-Bar: x"), b""),
        ((*EVENT, "Ce-Time: yesterday"), b""),
        ((*EVENT, "Content-Type: text/"), b""),
        ((*EVENT, "Ce-Dataschema: relative"), b""),
        ((), b"plain"),
    ],
)
async def test_9_what_is_no_valid_event_is_400(world: World, lines: tuple[str, ...], body: bytes) -> None:
    channel = await world.channel()
    assert (await world.send(channel, event=lines, body=body)).status == 400


async def test_10_host_and_path_lead_to_the_same_channel(world: World) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url))
    for target, host in (("/", channel.host), (channel.path, "any"), (channel.path + "/", channel.host)):
        assert (await world.request("POST", target, *EVENT, host=host)).status == 202
    assert len(sink.got) == 3


@pytest.mark.parametrize("path", ["/a/b/c", "/a", "//", "/a//", "/a/b//"])
async def test_11_other_paths_are_400(world: World, path: str) -> None:
    assert (await world.request("POST", path, *EVENT)).status == 400


async def test_12_a_query_does_not_matter(world: World) -> None:
    channel = await world.channel()
    assert (await world.request("POST", f"{channel.path}?x=/y", *EVENT)).status == 202
    assert (await world.request("POST", "/?x", *EVENT, host=channel.host)).status == 202


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "GET"])
async def test_13_an_unknown_host_or_path_is_500_whatever_the_method(world: World, method: str) -> None:
    assert (await world.request(method, "/", *EVENT, host="nobody-kn-channel.ns.svc.cluster.local")).status == 500
    assert (await world.request(method, "/ns/nobody", *EVENT)).status == 500


async def test_14_the_host_is_taken_verbatim(world: World) -> None:
    channel = await world.channel()
    for host in (f"{channel.host}:80", channel.host.upper(), channel.host.removesuffix(".svc.cluster.local")):
        assert (await world.request("POST", "/", *EVENT, host=host)).status == 500


async def test_16_the_kubelet_hears_204_when_all_ready_channels_are_served(world: World) -> None:
    await world.channel()
    await world.channel(is_ready=False)
    assert (await world.request("GET", "/", "User-Agent: kube-probe/1.30")).status == 204


async def test_a_channel_that_is_not_ready_is_not_served(world: World) -> None:
    channel = await world.channel(is_ready=False)
    assert (await world.send(channel)).status == 500


async def test_a_channel_that_is_deleted_is_let_go_and_not_served(world: World) -> None:
    channel = await world.channel()
    found = await world.client.get(InMemoryChannel, channel.name, "ns")
    assert found.metadata.finalizers == ["imc-dispatcher"]
    await world.client.delete(InMemoryChannel, channel.name, "ns")

    async def is_gone() -> bool:
        try:
            await world.client.get(InMemoryChannel, channel.name, "ns")
        except NotFound:
            return True
        return False

    await eventually(is_gone)
    assert (await world.send(channel)).status == 500
    assert (await world.request("POST", channel.path, *EVENT)).status == 500


async def test_59_the_status_tells_of_each_subscriber_by_uid_and_generation(world: World) -> None:
    first, second = subscriber("http://a/", generation=3), subscriber("http://b/", generation=5)
    channel = await world.channel(first, second)
    found = await world.client.get(InMemoryChannel, channel.name, "ns")
    told = [(each.uid, each.observed_generation, each.ready) for each in found.status.subscribers]
    assert told == [(first.uid, 3, "True"), (second.uid, 5, "True")]


async def test_an_entry_that_cannot_be_served_is_told_with_the_reason(world: World) -> None:
    wrong = subscriber("http://a/", delivery={"backoffDelay": "soon"})
    channel = await world.channel(wrong)
    found = await world.client.get(InMemoryChannel, channel.name, "ns")
    assert [each.ready for each in found.status.subscribers] == ["False"]
    assert "backoffDelay: expected an ISO 8601 period" in found.status.subscribers[0].message


async def test_a_body_in_chunks_and_one_of_several_megabytes_arrive_whole(world: World) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url))
    data = bytes(range(256)) * 8192
    assert (await world.send(channel, body=data)).status == 202
    reader, writer = await asyncio.open_connection(world.address, 8080)
    head = [f"POST / HTTP/1.1\r\nHost: {channel.host}", *EVENT, "Transfer-Encoding: chunked", "", ""]
    writer.write("\r\n".join(head).encode() + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
    writer.close()
    assert [got.body for got in sink.got] == [data, b"abcde"]


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (413, ("Content-Length: 104857600",)),
        (431, (f"Ce-Large: {'x' * (2 << 20)}", "Content-Length: 0")),
        (400, ("Ce-Control: a\x01b", "Content-Length: 0")),
        (400, ("Ce-Latin: \xfc", "Content-Length: 0")),
        (202, ("Ce-Id: second", "Content-Length: 0")),
    ],
)
async def test_what_is_too_much_or_malformed_is_refused_at_once(
    world: World, status: int, lines: tuple[str, ...]
) -> None:
    sink = await world.sink()
    channel = await world.channel(subscriber(sink.url))
    reader, writer = await asyncio.open_connection(world.address, 8080)
    writer.write("\r\n".join([f"POST / HTTP/1.1\r\nHost: {channel.host}", *EVENT, *lines, "", ""]).encode("latin-1"))
    assert (await reader.readline()).startswith(b"HTTP/1.1 %d " % status)
    writer.transport.abort()
    # Of equal names the first counts; of anything refused nobody hears.
    assert [got.get("ce-id") for got in sink.got] == (["1"] if status == 202 else [])
