"""What HTTP/2 itself costs a proxy: CPU per request through both cores, without sockets, engine or policy.

One request is: scan and read its head from the client, write it to the app; scan and read the app's response (head and
one frame of data), write it to the client. Both peers' bytes are made beforehand; per turn as many requests come in one
read as `streams` says. The rival in the same run is the `h2` library, which is asked to do the same.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from proxies.headers import HeadEdits
from proxies.http2 import frames
from proxies.http2.client import ClientConnection
from proxies.http2.frames import frame
from proxies.http2.hpack import EMPTY_TABLE, encode
from proxies.http2.rendering import relayed_block, request_block
from proxies.http2.server import ServerConnection
from proxies.http2.stream import Stream
from proxies.messages import RequestHead, ResponseHead

__all__ = ["main"]

BUDGET_US: Final = 8.0
"""Per request, 25 to a read."""
_ROUNDS: Final = 7
_EDITS: Final = HeadEdits()
_HELLO: Final = frames.settings_frame({}) + frame(frames.SETTINGS, frames.ACK, 0)
_WIDE: Final = frames.window_update_frame(0, 1 << 30)
_REQUEST: Final = b"".join(
    encode(*pair)
    for pair in (
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"hello.default.example.com"),
        (b":path", b"/some/path?with=query"),
        (b"user-agent", b"load/1.0"),
        (b"accept", b"*/*"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-forwarded-proto", b"http"),
        (b"accept-encoding", b"gzip"),
    )
)
_RESPONSE: Final = b"".join(
    encode(*pair)
    for pair in (
        (b":status", b"200"),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"13"),
        (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
    )
)
_BODY: Final = b"Hello, World!"


def main(arguments: list[str]) -> int:
    """Print the figures; 1 when the budget is missed."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.lab http2-core", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    requests = 500 if options.quick else 20_000
    figures = {
        "streams_1_us": _best_us(_through_ours, requests, streams=1),
        "streams_25_us": _best_us(_through_ours, requests, streams=25),
        "streams_25_each_traced_us": _best_us(_through_ours, requests, streams=25, is_traced=True),
        "streams_25_h2_library_us": _best_us(_through_h2, requests // 10, streams=25),
    }
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        for name, figure in figures.items():
            sys.stdout.write(f"{name:32}{figure:8.2f}\n")
    return 0 if figures["streams_25_us"] <= BUDGET_US or options.quick else 1


def _best_us(
    through: Callable[[list[tuple[bytes, bytes]]], float], requests: int, *, streams: int, is_traced: bool = False
) -> float:
    """Return microseconds per request in the best of several rounds, the one with the least of other work in it."""
    turns = list(_turns(requests // streams, streams, is_traced=is_traced))
    return min(through(turns) for _ in range(_ROUNDS)) / (len(turns) * streams) * 1e6


def _turns(count: int, streams: int, *, is_traced: bool) -> Iterator[tuple[bytes, bytes]]:
    """Yield what the client sends in each turn, and what the app answers."""
    stream_id = 1
    for _ in range(count):
        asked, answered = [], []
        for _ in range(streams):
            block = _REQUEST
            if is_traced:
                block += encode(b"traceparent", b"00-%032x-%016x-01" % (stream_id << 64, stream_id))
                block += encode(b"x-request-id", b"%032x" % stream_id)
            asked.append(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream_id, block))
            answered.append(frame(frames.HEADERS, frames.END_HEADERS, stream_id, _RESPONSE))
            answered.append(frame(frames.DATA, frames.END_STREAM, stream_id, _BODY))
            stream_id += 2
        # The tables of both peers are emptied by their first blocks.
        if stream_id == 1 + 2 * streams:
            asked[0] = asked[0].replace(_REQUEST, EMPTY_TABLE + _REQUEST)
            asked[0] = (int.from_bytes(asked[0][:3]) + 1).to_bytes(3) + asked[0][3:]
            answered[0] = frame(frames.HEADERS, frames.END_HEADERS, 1, EMPTY_TABLE + _RESPONSE)
        yield b"".join(asked), b"".join(answered)


class _Owner:
    """Nobody waits: the loop below takes what there is."""

    def output_ready(self) -> None:
        """Taken at the end of the turn."""

    def write_through(self) -> None:
        """Taken at the end of the turn, too."""

    def settings_received(self) -> None:
        """Nothing depends on them."""

    def peer_goes_away(self, code: int, text: str) -> None:
        """The run is over."""

    def ping_acknowledged(self, payload: bytes) -> None:
        """None is sent."""


class _Towards(Stream):
    """A client's stream, and the one that goes on to the app."""

    __slots__ = ()
    app: ClientConnection

    def request_received(self, head: RequestHead, is_done: bool) -> None:
        upstream = _Back(self.app)
        upstream.client = self
        self.app.open(upstream, request_block(_EDITS.apply(head, b"10.0.0.2"), b"http"), is_done)


class _Back(Stream):
    """The app's stream."""

    __slots__ = ("client",)
    client: Stream

    def response_received(self, head: ResponseHead, is_done: bool) -> None:
        self.client.send_head(relayed_block(head), is_done)

    def data_received(self, data: bytes, is_done: bool) -> None:
        self.client.send_data(data, is_done)


def _through_ours(turns: list[tuple[bytes, bytes]]) -> float:
    """Return the seconds that all turns take."""
    owner = _Owner()
    app = ClientConnection(owner, time.monotonic)

    class Towards(_Towards):
        __slots__ = ()

    Towards.app = app
    client = ServerConnection(owner, time.monotonic, Towards)
    client.receive(frames.PREFACE + _HELLO + _WIDE)
    app.receive(_HELLO + _WIDE)
    client.take_output(), app.take_output()
    size = 0
    began_s = time.process_time()
    for asked, answered in turns:
        client.receive(asked)
        app.take_output()
        app.receive(answered)
        size += len(client.take_output())
    took_s = time.process_time() - began_s
    assert size > len(turns) * len(_BODY)
    assert client.is_idle and app.is_idle and client.fault is None and app.fault is None  # noqa: PT018 one state
    return took_s


def _through_h2(turns: list[tuple[bytes, bytes]]) -> float:
    """`_through_ours` with the `h2` library."""
    import h2.config
    import h2.connection

    client, app = (
        h2.connection.H2Connection(h2.config.H2Configuration(client_side=is_client, header_encoding=None))
        for is_client in (False, True)
    )
    for core in (client, app):
        core.initiate_connection()
        core.update_settings({1: 0})
    client.receive_data(frames.PREFACE + _HELLO + _HELLO[-9:] + _WIDE)
    app.receive_data(_HELLO + _HELLO[-9:] + _WIDE)
    began_s = time.process_time()
    for asked, answered in turns:
        for event in client.receive_data(asked):
            _relay_request(app, event)
        app.data_to_send()
        for event in app.receive_data(answered):
            _relay_response(client, event)
        client.data_to_send()
    return time.process_time() - began_s


def _relay_request(app: Any, event: Any) -> None:
    if type(event).__name__ == "RequestReceived":
        app.send_headers(event.stream_id, event.headers, end_stream=True)


def _relay_response(client: Any, event: Any) -> None:
    if type(event).__name__ == "ResponseReceived":
        client.send_headers(event.stream_id, event.headers)
    elif type(event).__name__ == "DataReceived":
        client.send_data(event.stream_id, event.data, end_stream=event.stream_ended is not None)
