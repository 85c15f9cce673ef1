"""`autoscaler.http_client` against real sockets that say what they are told to."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from autoscaler import http_client
from autoscaler.http_client import Address, Answer, HttpClient, NoAnswer, get_request
from tests.support.processes import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
REQUEST = get_request("pod", "/metrics", {"Accept": "text/plain"})


class Endpoint:
    """Answers each request with what `answer(number of the connection, number of the request on it)` says.

    None closes the connection instead. A list is sent piece by piece.
    """

    def __init__(self, answer: Callable[[int, int], bytes | list[bytes] | None]) -> None:
        self.address: Address = ("127.0.0.1", 0)
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.open_most = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.open_most = max(self.open_most, self.open)
        connection = self.connections
        asked = 0
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                asked += 1
                answer = self._answer(connection, asked)
                if answer is None:
                    return
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if b"until-close" in answer:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def endpoint(
    answer: Callable[[int, int], bytes | list[bytes] | None] = lambda connection, asked: OK,
) -> AsyncIterator[Endpoint]:
    peer = Endpoint(answer)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.address = server.sockets[0].getsockname()[:2]
    try:
        yield peer
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client(*, connections_max: int = 10, timeout_s: float = 5.0) -> AsyncIterator[HttpClient]:
    http = HttpClient(connections_max=connections_max, timeout_s=timeout_s)
    try:
        yield http
    finally:
        await http.close()


async def ask(http: HttpClient, peer: Endpoint, *, limit: int = 100, keep: bool = True) -> Answer:
    return await http.get(peer.address, REQUEST, body_bytes_max=limit, keep=keep)


async def test_questions_to_one_address_share_a_connection() -> None:
    async with endpoint() as peer, client() as http:
        answers = [await ask(http, peer) for _ in range(3)]
    assert [(answer.head.status, answer.body, answer.is_cut) for answer in answers] == [(200, b"hello", False)] * 3
    assert peer.connections == 1
    assert peer.requests == [b"GET /metrics HTTP/1.1\r\nHost: pod\r\nAccept: text/plain\r\n\r\n"] * 3


async def test_a_question_may_ask_for_a_connection_of_its_own() -> None:
    async with endpoint() as peer, client() as http:
        for _ in range(3):
            await ask(http, peer, keep=False)
        await ask(http, peer)
        await ask(http, peer, keep=False)
    assert peer.connections == 5


BODIES = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world", b"hello world"),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nA: b\r\n\r\n",
        b"hello world",
    ),
    "until close": (b"HTTP/1.1 200 OK\r\nX: until-close\r\n\r\nhello world", b"hello world"),
    "interim": (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, b"hello"),
}


@pytest.mark.parametrize("cut", [1, 2, 7, 1000], ids="pieces of {}".format)
@pytest.mark.parametrize("name", BODIES)
async def test_an_answer_in_pieces_is_the_same_answer(name: str, cut: int) -> None:
    sent, body = BODIES[name]
    pieces = [sent[at : at + cut] for at in range(0, len(sent), cut)]
    async with endpoint(lambda connection, asked: sent if name == "until close" else pieces) as peer, client() as http:
        for _ in range(2):
            answer = await ask(http, peer)
            assert (answer.body, answer.is_cut) == (body, False)
    assert peer.connections == (2 if name == "until close" else 1)


@pytest.mark.parametrize("framing", ["Content-Length: 11", "Transfer-Encoding: chunked", "X: until-close"])
async def test_of_a_body_no_more_than_asked_for_is_held_and_the_connection_ends(framing: str) -> None:
    body = b"b\r\nhello world\r\n0\r\n\r\n" if "chunked" in framing else b"hello world"
    sent = f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode() + body
    async with endpoint(lambda connection, asked: sent) as peer, client() as http:
        assert (await ask(http, peer, limit=4))[1:] == (b"hell", True)
        assert (await ask(http, peer, limit=11))[1:] == (b"hello world", False)
    assert peer.connections == 2


MALFORMED = {
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 5\r\n\r\nhello",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"A: " + b"b" * 20_000,
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_not_an_answer_is_an_error_and_the_connection_ends(sent: bytes) -> None:
    async with endpoint(lambda connection, asked: sent if connection == 1 else OK) as peer, client() as http:
        with pytest.raises(NoAnswer, match=r"127\.0\.0\.1:\d+: malformed response"):
            await ask(http, peer)
        assert (await ask(http, peer)).body == b"hello"
    assert peer.connections == 2


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK[:-1])
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    async with server, client() as http:
        with pytest.raises(NoAnswer, match="closed inside the answer"):
            await http.get(server.sockets[0].getsockname()[:2], REQUEST, body_bytes_max=10)


async def test_bytes_that_nobody_asked_for_are_no_answer_to_the_next_question() -> None:
    async with endpoint(lambda connection, asked: OK + (OK if connection == 1 else b"")) as peer, client() as http:
        await ask(http, peer)
        await ask(http, peer)
        await ask(http, peer)
    assert peer.connections == 2


async def test_a_kept_connection_that_the_peer_just_closed_is_replaced_once() -> None:
    def answer(connection: int, asked: int) -> bytes | None:
        return None if (connection, asked) == (1, 2) else OK

    async with endpoint(answer) as peer, client() as http:
        await ask(http, peer)
        assert (await ask(http, peer)).body == b"hello"
    assert peer.connections == 2


async def test_a_connection_of_its_own_that_the_peer_closes_is_not_tried_again() -> None:
    async with endpoint(lambda connection, asked: None) as peer, client() as http:
        with pytest.raises(NoAnswer, match="connection closed"):
            await ask(http, peer)
    assert len(peer.requests) == 1


async def test_a_refused_connection_says_who_refused() -> None:
    async with endpoint() as peer:
        pass
    async with client() as http:
        with pytest.raises(NoAnswer, match=r"127\.0\.0\.1:\d+: connect: connection refused"):
            await ask(http, peer)


async def test_silence_ends_at_the_deadline_and_the_connection_with_it() -> None:
    def answer(connection: int, asked: int) -> bytes | list[bytes]:
        return [] if connection == 1 else OK

    async with endpoint(answer) as peer, client(timeout_s=0.1) as http:
        began_s = time.monotonic()
        with pytest.raises(NoAnswer, match=r"no answer within 0\.1 s"):
            await ask(http, peer)
        assert 0.1 <= time.monotonic() - began_s < 10
        await eventually(lambda: peer.open == 0)
        assert (await ask(http, peer)).body == b"hello"


async def test_never_more_connections_than_allowed_and_everybody_gets_a_turn() -> None:
    peer = Endpoint(lambda connection, asked: OK)
    hosts = [f"127.0.0.{number}" for number in range(1, 9)]
    server = await asyncio.start_server(peer.serve, hosts, 0)
    addresses: list[Address] = [socket.getsockname()[:2] for socket in server.sockets]
    async with server, client(connections_max=3) as http:
        questions = [http.get(address, REQUEST, body_bytes_max=9) for address in addresses * 5]
        answers = await asyncio.gather(*questions)
        assert [answer.body for answer in answers] == [b"hello"] * 40
        assert http.connection_count <= 3
    assert peer.open_most == 3


async def test_the_connection_that_is_idle_for_longest_makes_room() -> None:
    async with endpoint() as first, endpoint() as second, endpoint() as third, client(connections_max=2) as http:
        for peer in (first, second, third, second):
            await ask(http, peer)
    assert [peer.connections for peer in (first, second, third)] == [1, 1, 1]


async def test_a_connection_that_nobody_uses_is_closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "_IDLE_S", 0.05)
    async with endpoint() as peer, client() as http:
        await ask(http, peer)
        assert peer.open == 1
        await eventually(lambda: peer.open == 0)
        assert http.connection_count == 0
        assert (await ask(http, peer)).body == b"hello"


async def test_a_question_that_waits_for_a_place_has_its_deadline_too() -> None:
    few = client(connections_max=1, timeout_s=0.1)
    async with endpoint(lambda connection, asked: []) as silent, endpoint() as peer, few as http:
        held = http.get(silent.address, REQUEST, body_bytes_max=1)
        with pytest.raises(NoAnswer):
            await ask(http, peer)
        with pytest.raises(NoAnswer):
            await held
        assert peer.connections == 0
        assert (await ask(http, peer)).body == b"hello"


async def test_a_caller_that_gives_up_leaves_the_connection_as_it_is() -> None:
    async with endpoint() as peer, client() as http:
        await ask(http, peer)
        question = http.get(peer.address, REQUEST, body_bytes_max=100)
        question.cancel()
        await eventually(lambda: len(peer.requests) == 2)
        await ask(http, peer)
        await ask(http, peer)
    assert len(peer.requests) == 4
    assert peer.connections <= 2


async def test_a_caller_that_gives_up_holds_no_more_of_a_long_answer() -> None:
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"x" * 100)
                await asyncio.sleep(0.01)
        finally:
            ended.set()
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server, client(timeout_s=3600) as http:
        answer = http.get(server.sockets[0].getsockname()[:2], REQUEST, body_bytes_max=1 << 20)
        await asyncio.wait([answer], timeout=0.1)
        answer.cancel()
        await asyncio.wait_for(ended.wait(), 60)
        await eventually(lambda: http.connection_count == 0)


@pytest.mark.parametrize("state", ["asking", "waiting", "afterwards"])
async def test_a_closed_client_answers_nobody(state: str) -> None:
    async with endpoint(lambda connection, asked: []) as silent:
        async with client(connections_max=1) as http:
            asking = http.get(silent.address, REQUEST, body_bytes_max=1)
            await eventually(lambda: len(silent.requests) == 1)
            waiting = http.get(("127.0.0.2", silent.address[1]), REQUEST, body_bytes_max=1)
        afterwards = http.get(silent.address, REQUEST, body_bytes_max=1)
        futures: dict[str, Awaitable[Answer]] = {"asking": asking, "waiting": waiting, "afterwards": afterwards}
        chosen = futures.pop(state)
        with pytest.raises(NoAnswer, match="closed"):
            await chosen
        await asyncio.gather(*futures.values(), return_exceptions=True)
        await eventually(lambda: silent.open == 0)
        assert http.connection_count == 0
