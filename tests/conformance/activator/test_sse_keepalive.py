"""The annotation `serving.knuv.dev/sse-keepalive`: event streams begin while their requests wait for a pod."""

import asyncio
import json
import time

import pytest

from tests.conformance.activator.world import DEADLINE_S, Message, World, read_head, surroundings
from tests.support.http2 import Peer

ASKED = {"serving.knuv.dev/sse-keepalive": "1s"}
EVENTS = [("Accept", "text/event-stream"), ("Accept-Encoding", "gzip")]
COMMENT = b": waiting for a pod\n\n"
STREAMS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 11\r\n\r\ndata: one\n\n",
    "chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\ndata:\r\n6\r\n one\n\n\r\n0\r\n\r\n"
    ),
    "until-the-end": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: one\n\n",
}


class Stream:
    """A response under way, chunk by chunk."""

    def __init__(self, head: Message, reader: asyncio.StreamReader) -> None:
        self.head = head
        self._reader = reader

    async def chunk(self) -> bytes:
        """The next chunk; empty at the end."""
        async with asyncio.timeout(DEADLINE_S):
            size = int(await self._reader.readline(), 16)
            return (await self._reader.readexactly(size + 2))[:-2]

    async def rest(self) -> bytes:
        """Everything up to the end."""
        data = b""
        while chunk := await self.chunk():
            data += chunk
        return data


async def stream(world: World, **request: object) -> Stream:
    """A request for events, once its response has begun."""
    reader, _ = await world.send(headers=EVENTS, **request)  # type: ignore[arg-type]
    async with asyncio.timeout(DEADLINE_S):
        return Stream(await read_head(reader), reader)


async def test_a_stream_begins_after_the_period_and_the_pods_events_go_on_in_it() -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations=ASKED)
        await world.start()
        began = time.monotonic()
        streams = [await stream(world, path=f"/{name}", method="POST", body=b"ask") for name in STREAMS]
        assert streams[0].head.at - began > 0.9
        head = streams[0].head
        assert (head.status, head.get("content-type"), head.get("cache-control")) == (
            200,
            "text/event-stream",
            "no-store",
        )
        assert [await streams[0].chunk() for _ in range(2)] == [COMMENT, COMMENT]
        pod = await world.pod(10)
        pod.answers_by_target = {f"/{name}": answer for name, answer in STREAMS.items()}
        await world.endpoints(not_ready=[pod])
        for each in streams:
            assert (await each.rest()).removeprefix(COMMENT).removeprefix(COMMENT) == b"data: one\n\n"
        for request in pod.requests:
            assert request.body == b"ask"
            assert request.get("accept") == "text/event-stream"
            assert not request.get("accept-encoding"), "it is too late to say how the body is encoded"


async def test_who_waits_less_sees_nothing_of_it() -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations={"serving.knuv.dev/sse-keepalive": "60s"})
        await world.start()
        waiting = world.start_get(headers=EVENTS)
        await world.autoscaler.heard_of(1)
        pod = await world.pod(10)
        await world.endpoints(not_ready=[pod])
        answer = await waiting
        assert (answer.body, answer.get("content-type")) == (b"pod-10", "")
        assert pod.requests[0].get("accept-encoding") == "gzip"


@pytest.mark.parametrize("cause", ["another kind of response", "time"])
async def test_what_is_no_stream_of_events_is_an_error_event(cause: str) -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations=ASKED, timeoutSeconds=3)
        await world.start()
        begun = await stream(world)
        if cause != "time":
            pod = await world.pod(10)
            await world.endpoints(not_ready=[pod])
        last = (await begun.rest()).rpartition(COMMENT)[2]
        assert last.startswith(b"event: error\ndata: ")
        assert last.endswith(b"\n\n")
        assert json.loads(last.split(b"data: ")[1]) == {"status": 504 if cause == "time" else 200}


async def test_over_http2_a_stream_begins_and_ends_alike() -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations=ASKED, timeoutSeconds=2)
        await world.start()
        client = await Peer.connect(world.address, 8012)
        try:
            named = (("knative-serving-namespace", "ns"), ("knative-serving-revision", "rev"))
            client.request(1, *named, ("accept", "text/event-stream"))
            fields, is_done, _ = await client.fields(1)
            assert (fields[":status"], fields["content-type"], is_done) == ("200", "text/event-stream", False)
            comments, comment, last = (await client.body(1)).rpartition(COMMENT)
            assert set((comments + comment).split(COMMENT)) == {b""}
            assert last == b'event: error\ndata: {"status":504}\n\n'
        finally:
            client.close()


async def test_who_asks_for_something_else_waits() -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations=ASKED, timeoutSeconds=2)
        await world.start()
        accepted = ("*/*", "text/html", "application/json")
        answers = await asyncio.gather(*(world.get(headers=[("Accept", each)]) for each in accepted))
        assert [answer.status for answer in answers] == [504] * 3


async def test_a_client_that_leaves_before_its_stream_begins_is_no_matter_to_another() -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations=ASKED)
        await world.start()
        _, writer = await world.send(headers=EVENTS)
        await world.autoscaler.frame(0)
        writer.transport.abort()
        assert await (await stream(world)).chunk() == COMMENT


async def test_a_client_that_leaves_gives_up_its_place() -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations=ASKED, cc=1)
        await world.start()
        reader, writer = await world.send(headers=EVENTS)
        async with asyncio.timeout(DEADLINE_S):
            await read_head(reader)
        writer.transport.abort()
        await world.autoscaler.heard_of(0)
        pod = await world.pod(10)
        await world.endpoints(not_ready=[pod])
        assert (await world.get()).body == b"pod-10"
        assert len(pod.requests) == 1
