"""Which requests and responses are event streams, and who is written to, without sockets."""

import asyncio
from collections.abc import Callable

import pytest

from activator.sse_keepalive import SSE_KEEPALIVE, SseKeepalive, wants_events
from proxies.heads import request_head
from proxies.http1 import parse_response
from proxies.messages import RequestHead, ResponseHead
from tests.support.processes import eventually


def request(accept: str) -> RequestHead:
    return request_head(f"GET / HTTP/1.1\r\nHost: h\r\nAccept: {accept}".encode())


@pytest.mark.parametrize(
    ("accept", "is_wanted"),
    [
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream;q=0.9", True),
        ("*/*", False),
        ("text/event-streams", False),
        ("application/json", False),
    ],
)
def test_only_who_names_event_streams_wants_them(accept: str, is_wanted: bool) -> None:
    assert wants_events(request(accept)) is is_wanted


@pytest.mark.parametrize(
    ("head", "is_accepted"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream", True),
        (b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8", True),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip", False),
        (b"HTTP/1.1 204 No Content\r\nContent-Type: text/event-stream", False),
        (b"HTTP/1.1 503 X\r\nContent-Type: text/event-stream", False),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json", False),
        (b"HTTP/1.1 200 OK", False),
    ],
)
def test_only_event_streams_go_on_in_the_one_begun(head: bytes, is_accepted: bool) -> None:
    assert SseKeepalive(1.0).accepts(parse_response(head)) is is_accepted


@pytest.mark.parametrize("period", ["0s", "999ms", "601s", "often", "10"])
def test_what_is_no_period_is_refused(period: str) -> None:
    with pytest.raises(ValueError, match=r"serving\.knuv\.dev/sse-keepalive: expected"):
        SseKeepalive.read({SSE_KEEPALIVE: period})


def test_without_a_period_there_is_none() -> None:
    assert SseKeepalive.read({}) is None
    keepalive = SseKeepalive.read({SSE_KEEPALIVE: "1m30s"})
    assert keepalive is not None
    assert keepalive.period_s == 90.0


class Held:
    """An exchange that waits: what it was sent, and whether its client reads."""

    def __init__(self, *, can_begin: bool = True) -> None:
        self.request = request("text/event-stream")
        self.is_full = False
        self.written: list[bytes] = []
        self.heads: list[ResponseHead] = []
        self._can_begin = can_begin

    def begin(self, head: ResponseHead, rest: object) -> Callable[[bytes], None] | None:
        self.heads.append(head)
        return self.written.append if self._can_begin else None


async def test_a_client_that_does_not_read_is_sent_nothing_more() -> None:
    keepalive = SseKeepalive(1.0)
    slow, quick = Held(), Held()
    for held in (slow, quick):
        keepalive.hold(held)  # type: ignore[arg-type]
    await eventually(lambda: quick.written)
    slow.is_full = True
    await eventually(lambda: len(quick.written) == 2)
    assert len(slow.written) == 1
    assert [len(held.heads) for held in (slow, quick)] == [1, 1]
    for held in (slow, quick):
        keepalive.forget(held)  # type: ignore[arg-type]


async def test_whoever_waits_again_goes_on_with_the_stream_that_was_begun() -> None:
    keepalive = SseKeepalive(1.0)
    held = Held()
    keepalive.hold(held)  # type: ignore[arg-type]
    assert keepalive.pass_on(held) is False  # type: ignore[arg-type]
    keepalive.hold(held)  # type: ignore[arg-type]
    await eventually(lambda: held.written)
    assert keepalive.pass_on(held) is True  # type: ignore[arg-type]
    keepalive.hold(held)  # type: ignore[arg-type]
    await eventually(lambda: len(held.written) == 2)
    assert len(held.heads) == 1
    keepalive.forget(held)  # type: ignore[arg-type]
    assert keepalive.pass_on(held) is False  # type: ignore[arg-type]


async def test_where_nothing_can_be_begun_the_others_are_served() -> None:
    keepalive = SseKeepalive(1.0)
    old, new = Held(can_begin=False), Held()
    for held in (old, new):
        keepalive.hold(held)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        await eventually(lambda: len(new.written) == 2)
    assert len(old.heads) == 1
    keepalive.forget(new)  # type: ignore[arg-type]
