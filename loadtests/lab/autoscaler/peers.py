"""The autoscaler's peers as one process of their own: `python -m loadtests.lab.autoscaler.peers`.

Reads one JSON line from stdin: {"pods": [address, ...], "concurrency": 65, "senders": [[name, ...], ...], "port": 1}.
Pods answer scrapes at port 9090 of their address with a stat of that concurrency; `listening` is said when all do. Each
sender is a WebSocket connection to the stat server that tells the load of its revisions once a second, and pings as
activators do; the next line lets them connect, and `connected` is said. Ends with its stdin. Nothing is parsed here
that need not be: the peers are to be cheap.
"""

import asyncio
import base64
import json
import os
import sys
from email.utils import formatdate
from typing import Final, cast

import uvloop

from proxies.wire.stat import Stat, StatMessage, encode_messages, encode_stat

NAMESPACE: Final = "default"
METRICS_PORT: Final = 9090
_PING_EVERY: Final = 10 / 3
_BACKLOG: Final = 64
_AT_ONCE: Final = 100


class Pod(asyncio.Protocol):
    """One connection of a scraper."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(Pod.answer)


def renew_answer(body: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """What every pod answers in this second, with the fields that queue-proxy sends."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/protobuf\r\nContent-Length: {len(body)}\r\n"
    Pod.answer = f"{head}Date: {formatdate(usegmt=True)}\r\n\r\n".encode() + body
    loop.call_later(1.0, renew_answer, body, loop)


class Sender(asyncio.Protocol):
    """One activator: a handshake, then a frame each second."""

    def __init__(self, frame: bytes, phase_s: float) -> None:
        self._frame = frame
        self._phase_s = phase_s
        self._loop = asyncio.get_running_loop()
        self.ready = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            "GET / HTTP/1.1\r\nHost: autoscaler.knative-serving.svc.cluster.local:8080\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self.ready.done():
            return  # pongs
        if not data.startswith(b"HTTP/1.1 101 "):
            self.ready.set_exception(ConnectionError(f"expected 101, got {data[:64]!r}"))
            return
        self.ready.set_result(None)
        self._loop.call_later(self._phase_s, self._send, self._loop.time() + self._phase_s)
        self._loop.call_later(self._phase_s * _PING_EVERY, self._ping)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("closed"))

    def _send(self, due_s: float) -> None:
        self._transport.write(self._frame)
        self._loop.call_at(due_s + 1.0, self._send, due_s + 1.0)

    def _ping(self) -> None:
        self._transport.write(b"\x89\x80\x00\x00\x00\x00")
        self._loop.call_later(_PING_EVERY, self._ping)


def frame_of(sender: int, revisions: list[str]) -> bytes:
    """A binary frame with a stat for each revision, masked with zeros, so that it can be sent again and again."""
    stat = Stat(f"activator-{sender:04}", average_concurrent_requests=1.25, request_count=5.0)
    payload = encode_messages([StatMessage(NAMESPACE, name, stat) for name in revisions])
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2) if size < 1 << 16 else b""
    return b"\x82" + (length or b"\xff" + size.to_bytes(8)) + b"\x00\x00\x00\x00" + payload


async def _connect(port: int, frame: bytes, phase_s: float) -> None:
    loop = asyncio.get_running_loop()
    _, sender = await loop.create_connection(lambda: Sender(frame, phase_s), "127.0.0.1", port)
    await sender.ready


async def main() -> None:
    """Serve until stdin ends."""
    loop = asyncio.get_running_loop()
    told = json.loads(sys.stdin.readline())
    renew_answer(encode_stat(Stat("pod", told["concurrency"], request_count=5.0, process_uptime=1000.0)), loop)
    for host in told["pods"]:
        await loop.create_server(Pod, host, METRICS_PORT, backlog=_BACKLOG)
    print("listening", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    count = len(told["senders"])
    senders = [(frame_of(number, revisions), number / count) for number, revisions in enumerate(told["senders"])]
    for begin in range(0, count, _AT_ONCE):
        opened = [_connect(told["port"], *sender) for sender in senders[begin : begin + _AT_ONCE]]
        await asyncio.gather(*opened)
    print("connected", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
