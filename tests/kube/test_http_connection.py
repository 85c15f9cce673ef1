"""One connection to a server that answers what a test says."""

import asyncio
import os
import socket
import ssl
from pathlib import Path

import pytest

from kube.http_connection import BrokenConnection, HttpConnection, render_request
from tests.kube.scripted_server import Peer, Server, serving
from tests.support.certificates import Authority
from tests.support.processes import eventually

GET = render_request("GET", "/x", {"Host": "h"})
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def opened(server: Server) -> HttpConnection:
    return await HttpConnection.open("127.0.0.1", server.port)


async def fetch(connection: HttpConnection) -> bytes:
    await connection.ask(GET)
    return await connection.read_all()


async def whole(answer: bytes, *, closes: bool = False) -> tuple[int, bytes, bool]:
    """Status, body and whether another request may follow, of a response sent byte by byte."""

    async def script(peer: Peer, _request: bytes) -> None:
        for index in range(len(answer)):
            await peer.send(answer[index : index + 1])
            await asyncio.sleep(0)
        if closes:
            raise EOFError

    async with serving(script) as server, asyncio.timeout(10):
        connection = await opened(server)
        head = await connection.ask(GET)
        body = await connection.read_all()
        is_free = connection.is_free
        connection.abort()
        return head.status, body, is_free


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", (200, b"hello", True)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, b"", True)),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", (404, b"no", False)),
        (b"HTTP/1.1 204 OK\r\n\r\n", (204, b"", True)),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", (200, b"x", True)),
        (CHUNKED + b"3\r\nabc\r\n2;a=b\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n", (200, b"abcde", True)),
    ],
)
async def test_a_response_is_read_however_its_bytes_come(answer: bytes, expected: tuple[int, bytes, bool]) -> None:
    assert await whole(answer) == expected


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    assert await whole(b"HTTP/1.1 200 OK\r\n\r\nabc", closes=True) == (200, b"abc", False)


async def test_what_we_cut_off_ourselves_is_no_end_of_a_body_without_a_length() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await peer.left()

    async with serving(script) as server, asyncio.timeout(10):
        connection = await opened(server)
        await connection.ask(GET)
        reading = asyncio.get_running_loop().create_task(connection.read_all())
        await asyncio.sleep(0)
        connection.abort()
        with pytest.raises(BrokenConnection, match="cut off"):
            await reading


async def test_a_request_that_was_answered_before_it_was_sent_is_the_last_of_its_connection() -> None:
    over = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Much\r\nContent-Length: 0\r\n\r\n")
        await over.wait()
        writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1024)
    async with listening, asyncio.timeout(10):
        connection = await HttpConnection.open("127.0.0.1", listening.sockets[0].getsockname()[1])
        head = await connection.ask(render_request("PUT", "/", {"Host": "h"}, bytes(64 << 20)))
        assert (head.status, await connection.read_all()) == (413, b"")
        assert not connection.is_free
        connection.abort()
        over.set()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        CHUNKED + b"3\r\nabc\r\n",
        b"",
    ],
)
async def test_a_response_that_breaks_off_is_no_response(answer: bytes) -> None:
    with pytest.raises(BrokenConnection, match="closed"):
        await whole(answer, closes=True)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"SSH-2.0-x\r\n\r\n", "malformed"),
        (CHUNKED + b"zz\r\nabc", "chunk size"),
        (b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "switch"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (66 << 10), "head of at most"),
    ],
)
async def test_what_is_no_response_is_refused(answer: bytes, text: str) -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.send(answer)
        await peer.left()

    async with serving(script) as server, asyncio.timeout(10):
        connection = await opened(server)
        with pytest.raises(BrokenConnection, match=text):
            await fetch(connection)
        await connection.lost


async def test_a_body_without_end_is_not_collected_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kube.http_connection._WHOLE_BYTES_MAX", 1 << 20)

    async def script(peer: Peer, _request: bytes) -> None:
        await peer.send(CHUNKED)
        while True:
            await peer.send(b"10000\r\n%s\r\n" % bytes(1 << 16))

    async with serving(script) as server, asyncio.timeout(10):
        connection = await opened(server)
        with pytest.raises(BrokenConnection, match="at most 1048576 bytes"):
            await fetch(connection)
        assert not connection.is_free
        connection.abort()


async def test_bytes_behind_a_response_end_the_connection() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n")
        await peer.left()

    async with serving(script) as server, asyncio.timeout(10):
        connection = await opened(server)
        assert await fetch(connection) == b"x"
        assert not connection.is_free
        with pytest.raises(BrokenConnection):
            await connection.ask(GET)


async def test_requests_follow_each_other_on_one_connection() -> None:
    async def script(peer: Peer, request: bytes) -> None:
        await peer.answer(request[-1:])

    async with serving(script) as server, asyncio.timeout(10):
        connection = await opened(server)
        for body in (b"a", b"b"):
            await connection.ask(render_request("POST", "/", {"Host": "h"}, body))
            assert await connection.read_all() == body
        assert server.connections == 1
        connection.close()
        await connection.lost


async def test_who_does_not_read_makes_the_peer_wait() -> None:
    total = 64 << 20
    sent = 0

    async def script(peer: Peer, _request: bytes) -> None:
        nonlocal sent
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(64):
            await peer.send(bytes(1 << 20))
            sent += 1 << 20

    async with serving(script) as server, asyncio.timeout(20):
        connection = await opened(server)
        await connection.ask(GET)
        await eventually(lambda: sent >= 2 << 20)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert sent < total, "everything was taken, though nobody reads"
        assert len(await connection.read_all()) == total
        connection.abort()


def own_end(server: Server) -> socket.socket:
    """Another handle of the socket by which this process speaks to the server."""
    for name in os.listdir("/proc/self/fd"):
        if "socket:" not in os.path.realpath(f"/proc/self/fd/{name}"):
            continue
        found = socket.socket(fileno=os.dup(int(name)))
        try:
            if found.family == socket.AF_INET and found.getpeername()[1] == server.port:
                return found
        except OSError:
            pass  # it listens
        found.close()
    raise AssertionError("not connected")


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_peer_that_is_gone_without_a_word_is_noticed(tmp_path: Path, is_tls: bool) -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.left()

    authority = Authority(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if is_tls else None
    trusting = ssl.create_default_context(cafile=str(authority.ca_file)) if is_tls else None
    if tls is not None:
        tls.load_cert_chain(*authority.issue("127.0.0.1"))
    async with serving(script, tls) as server, asyncio.timeout(10):
        connection = await HttpConnection.open("127.0.0.1", server.port, tls=trusting)
        with own_end(server) as end:
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            asked_s = [end.getsockopt(socket.IPPROTO_TCP, key) for key in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)]
            assert asked_s == [15, 15]
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000
        connection.abort()
        await connection.lost


async def test_in_tls_the_server_has_to_be_whom_its_certificate_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*authority.issue("127.0.0.1", dns=["api.example.com"]))
    trusting = ssl.create_default_context(cafile=str(authority.ca_file))

    async def script(peer: Peer, _request: bytes) -> None:
        await peer.answer(b"x" * 300_000)

    async with serving(script, tls) as server, asyncio.timeout(10):
        for name in (None, "api.example.com"):
            connection = await HttpConnection.open("127.0.0.1", server.port, tls=trusting, server_name=name)
            assert await fetch(connection) == b"x" * 300_000
            connection.close()
            await connection.lost
        with pytest.raises(ssl.SSLCertVerificationError):
            await HttpConnection.open("127.0.0.1", server.port, tls=trusting, server_name="other.example.com")


@pytest.mark.parametrize(
    ("target", "value"), [("/a\r\nX: y", "v"), ("/", "v\r\nX: y"), ("/", "v\n"), ("/", "\x00"), ("/", "\u20ac")]
)
def test_nothing_gets_into_a_head_that_would_be_another_line(target: str, value: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        render_request("GET", target, {"Host": value})


def test_a_request_says_how_long_it_is() -> None:
    rendered = render_request("POST", "/p?q=1", {"Host": "h", "A": "b"}, b"body")
    assert rendered == b"POST /p?q=1 HTTP/1.1\r\nHost: h\r\nA: b\r\nContent-Length: 4\r\n\r\nbody"
    assert render_request("GET", "/", {"Host": "h"}) == b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
