"""Apps whose backlog is full: the kernel drops what knocks, and the proxy knocks again, as the original does.

How long it goes on is waited out in `test_long_waits.py`.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from tests.faults.support import GET, Peer, TcpSocket, fence, tcp_sockets
from tests.support.processes import eventually
from tests.support.queue_proxy import running_queue_proxy


@contextmanager
def full_backlog() -> Iterator[tuple[socket.socket, int]]:
    """A listening socket with the one connection in its queue that fits, and its port."""
    with socket.socket() as listening, socket.socket() as filler:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        listening.setblocking(False)
        filler.connect(listening.getsockname())
        yield listening, listening.getsockname()[1]


def dials(port: int) -> set[str]:
    """Local addresses of attempts to connect to `port` that nobody answers."""
    return {each.local for each in tcp_sockets() if each.state == TcpSocket.SYN_SENT and each.remote_port == port}


@asynccontextmanager
async def accepting(listening: socket.socket) -> AsyncIterator[list[bytes]]:
    """An app at last: one response per connection. Yields the requests that it got."""
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nwelcome")
        except asyncio.IncompleteReadError:
            pass  # the filler
        finally:
            writer.close()

    server = await asyncio.start_server(answer, sock=listening.dup())
    try:
        yield requests
    finally:
        server.close()


async def test_a_request_waits_for_a_full_backlog_and_goes_on_when_there_is_room() -> None:
    with full_backlog() as (listening, port):
        async with running_queue_proxy(port) as proxy:
            client = await proxy.open()
            await client.request()
            attempts: set[str] = set()

            def was_repeated() -> bool:
                attempts.update(dials(port))
                return len(attempts) >= 2

            await eventually(was_repeated)
            async with accepting(listening) as requests:
                assert (await client.response()).body == b"welcome"
                assert requests == [b"/"]


async def test_a_client_that_leaves_meanwhile_frees_its_place_and_is_not_dialled_for_any_more() -> None:
    with full_backlog() as (listening, port):
        async with running_queue_proxy(port, CONTAINER_CONCURRENCY="1") as proxy:
            leaving = await Peer.open(proxy, b"GET /left HTTP/1.1\r\nHost: h\r\n\r\n")
            await eventually(lambda: dials(port))
            leaving.close()
            await fence(proxy)
            await eventually(lambda: not dials(port))
            # An attempt takes 50 ms and more, the pause before the next one 60 ms at most.
            end_s = time.monotonic() + 0.3
            while time.monotonic() < end_s:
                assert not dials(port)
                await fence(proxy)
            client = await proxy.open()
            await client.request("/stayed")
            async with accepting(listening) as requests:
                assert (await client.response()).body == b"welcome"
                assert requests == [b"/stayed"]


async def test_100_requests_that_wait_for_a_backlog_are_all_served_when_there_is_room() -> None:
    with full_backlog() as (listening, port):
        async with running_queue_proxy(port) as proxy:
            peers = [await Peer.open(proxy, GET) for _ in range(100)]
            await eventually(lambda: len(dials(port)) > 50)
            async with accepting(listening):
                listening.listen(1024)
                answers = await asyncio.gather(*(peer.receive() for peer in peers))
            assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
