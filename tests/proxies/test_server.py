"""Server, both halves and pool over real sockets: what the numbered statements about queue-proxy leave open."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from proxies import downstream, pool
from proxies.dialling import Unanswered, Unreachable
from proxies.exchange import Exchange, Outcome
from proxies.headers import HeadEdits
from proxies.listener import listening_socket
from proxies.messages import Answer
from proxies.pool import Endpoint, Pool
from proxies.server import Server
from proxies.timeouts import TimeoutLimits
from proxies.upstream import UpstreamConnection
from tests.proxies.diallers import RefusedOnce
from tests.support.http import Call, Client, fetch, running_app
from tests.support.processes import eventually

EDITS = HeadEdits()


class Policy:
    """Forwards to one endpoint; `admit` can be replaced. Keeps what ended, in order."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.ended_with: list[Outcome | None] = []
        self.cancelled_count = 0
        self.decide: Callable[[Exchange], None] = self.forward
        self.held: list[Exchange] = []

    def forward(self, exchange: Exchange) -> None:
        exchange.limit(TimeoutLimits(max_duration_s=60))
        exchange.forward(self.endpoint, EDITS)

    def admit(self, exchange: Exchange) -> None:
        self.decide(exchange)

    def cancelled(self, exchange: Exchange) -> None:
        self.cancelled_count += 1

    def ended(self, exchange: Exchange) -> None:
        self.ended_with.append(exchange.outcome)


class Proxy:
    """A running server with its pool and policy."""

    def __init__(self, server: Server, pool: Pool, policy: Policy, port: int) -> None:
        self.server, self.pool, self.policy, self.port = server, pool, policy, port
        self.clients: list[Client] = []

    async def open(self) -> Client:
        self.clients.append(await Client.open("127.0.0.1", self.port))
        return self.clients[-1]


@asynccontextmanager
async def running_proxy(app_port: int, **pool_options: float) -> AsyncIterator[Proxy]:
    loop = asyncio.get_running_loop()
    pool = Pool(loop, **pool_options)  # type: ignore[arg-type]
    policy = Policy(pool.endpoint("127.0.0.1", app_port))
    server = Server(loop, policy)
    proxy = Proxy(server, pool, policy, await server.listen("127.0.0.1", 0))
    try:
        yield proxy
    finally:
        for client in proxy.clients:
            client.close()
        await server.stop(tunnel_grace_s=1.0)
        await pool.close()
        await asyncio.sleep(0)


async def test_a_slow_reader_stops_the_app_from_sending_and_nothing_is_lost() -> None:
    data = os.urandom(40_000_000)
    sent = 0

    async def answer(call: Call) -> None:
        nonlocal sent
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        for begin in range(0, len(data), 100_000):
            await call.send(data[begin : begin + 100_000])
            sent += 100_000

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.request()
        response = await client.head()
        await settled(lambda: sent)
        # What fits into the kernel's buffers of three connections, and no more.
        assert sent < 20_000_000
        assert (await client.body(response)).body == data


async def settled(value: Callable[[], int]) -> None:
    """Wait until a value has not changed for a quarter of a second."""
    last, since = value(), 0
    while since < 25:
        await asyncio.sleep(0.01)
        since = since + 1 if value() == last else 0
        last = value()


async def test_a_slow_app_stops_the_client_from_sending_and_nothing_is_lost() -> None:
    data = os.urandom(40_000_000)
    go = asyncio.Event()
    sent = 0

    async def answer(call: Call) -> None:
        await go.wait()
        body, _ = await call.body()
        await call.respond(200 if body == data else 500)

    async def upload(client: Client) -> None:
        nonlocal sent
        for begin in range(0, len(data), 100_000):
            await client.send(data[begin : begin + 100_000])
            sent += 100_000

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.request(method="POST", headers=[f"Content-Length: {len(data)}"])
        uploading = asyncio.create_task(upload(client))
        await settled(lambda: sent)
        assert sent < 35_000_000
        go.set()
        await uploading
        assert (await client.response()).status == 200


async def test_a_held_request_keeps_its_body_outside_until_it_is_forwarded() -> None:
    data = os.urandom(20_000_000)

    async def answer(call: Call) -> None:
        body, _ = await call.body()
        await call.respond(200 if body == data else 500)

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        proxy.policy.decide = proxy.policy.held.append
        client = await proxy.open()
        uploading = asyncio.create_task(client.request(method="POST", body=data))
        await eventually(lambda: proxy.policy.held)
        assert not uploading.done()
        proxy.policy.forward(proxy.policy.held[0])
        assert (await client.response()).status == 200
        await uploading


async def test_a_held_request_is_cancelled_when_its_client_leaves() -> None:
    async with running_app() as app, running_proxy(app.port) as proxy:
        proxy.policy.decide = proxy.policy.held.append
        client = await proxy.open()
        await client.request()
        await eventually(lambda: proxy.policy.held)
        client.close()
        await eventually(lambda: proxy.policy.ended_with)
        assert (proxy.policy.cancelled_count, proxy.policy.ended_with) == (1, [Outcome.CLIENT_GONE])
        assert proxy.server.in_flight == 0


async def test_a_held_request_may_be_answered_much_later_and_the_connection_goes_on() -> None:
    async with running_app() as app, running_proxy(app.port) as proxy:
        proxy.policy.decide = proxy.policy.held.append
        client = await proxy.open()
        await client.request()
        await client.request("/second")
        await eventually(lambda: proxy.policy.held)
        assert len(proxy.policy.held) == 1
        proxy.policy.held[0].answer(Answer(404, b"no"))
        assert (await client.response()).body == b"no"
        await eventually(lambda: len(proxy.policy.held) == 2)
        proxy.policy.forward(proxy.policy.held[1])
        assert (await client.response()).body == b"hello"


async def test_connections_to_the_app_are_kept_within_the_bound_and_used_again() -> None:
    async with running_app() as app, running_proxy(app.port, idle_per_endpoint_max=2) as proxy:
        for _ in range(3):
            await asyncio.gather(*(fetch("127.0.0.1", proxy.port) for _ in range(5)))
        assert proxy.pool.idle_count == 2
        await eventually(lambda: len(proxy.pool.connections) == 2)
        connections = app.connections
        await fetch("127.0.0.1", proxy.port)
        assert app.connections == connections


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with running_app() as app, running_proxy(app.port, idle_s=0.1) as proxy:
        await fetch("127.0.0.1", proxy.port)
        assert proxy.pool.idle_count == 1
        await eventually(lambda: not proxy.pool.connections)
        assert proxy.pool.idle_count == 0


async def test_a_closed_endpoint_keeps_no_connection() -> None:
    async with running_app() as app, running_proxy(app.port) as proxy:
        await fetch("127.0.0.1", proxy.port)
        proxy.policy.endpoint.close()
        await eventually(lambda: not proxy.pool.connections)
        assert (await fetch("127.0.0.1", proxy.port)).status == 200
        await eventually(lambda: not proxy.pool.connections)


async def test_a_pool_closes_a_connection_once() -> None:
    """The standard library's TLS transport forgets, when it is closed, what a second close would ask for."""

    class Closed(asyncio.Transport):
        count = 0

        def is_closing(self) -> bool:
            return self.count > 0

        def close(self) -> None:
            self.count += 1

        def get_write_buffer_size(self) -> int:
            return 0

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            pass

    pool = Pool(asyncio.get_running_loop())
    connection, transport = UpstreamConnection(pool.endpoint("127.0.0.1", 1), pool), Closed()
    connection.connection_made(transport)
    connection.close()
    connection.close()
    assert transport.count == 1
    await pool.close()


async def test_bytes_that_nobody_asked_for_close_a_pooled_connection() -> None:
    go = asyncio.Event()

    async def answer(call: Call) -> None:
        await call.respond(200, b"x")
        await go.wait()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        assert (await fetch("127.0.0.1", proxy.port)).body == b"x"
        assert proxy.pool.idle_count == 1
        go.set()
        await eventually(lambda: not proxy.pool.connections)
        assert proxy.pool.idle_count == 0


async def test_a_malformed_response_is_a_502_that_says_why() -> None:
    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        response = await fetch("127.0.0.1", proxy.port)
        assert response.status == 502
        assert b"conflicting framing" in response.body


async def test_a_bad_chunk_of_the_app_cuts_the_response_off() -> None:
    go = asyncio.Event()

    async def answer(call: Call) -> None:
        await call.start_chunked()
        await call.chunk(b"good")
        await go.wait()
        await call.send(b"zz\r\n")
        await call.closed()

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.request()
        response = await client.head()
        go.set()
        assert not (await client.body(response)).is_whole
        await eventually(lambda: proxy.policy.ended_with == [Outcome.ABORTED])


async def test_a_body_that_ends_with_its_connection_is_cut_off_by_a_reset_and_not_by_an_orderly_end() -> None:
    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        await asyncio.sleep(0.05)
        call.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )
        call.writer.transport.abort()

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        response = await fetch("127.0.0.1", proxy.port)
        assert (response.status, response.is_whole) == (200, False)


async def test_an_answer_before_the_body_was_sent_reaches_the_client_that_goes_on_sending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(downstream, "_LINGER_S", 1000.0)  # far longer than `eof` waits
    async with running_app() as app, running_proxy(app.port) as proxy:
        proxy.policy.decide = lambda exchange: exchange.answer(Answer(413, b"too much"))
        client = await proxy.open()
        await client.request(method="POST", headers=["Content-Length: 100000"])
        await client.send(b"x" * 50_000)
        response = await client.response()
        assert (response.status, response.body, response.value("connection")) == (413, b"too much", "close")
        await client.send(b"x" * 50_000)
        # Told at once that nothing more comes, not when the lingering is over.
        assert await client.eof() == b""


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_can_have_no_body_does_not_become_the_next_answer(status: int) -> None:
    async with running_proxy(1) as proxy:
        proxy.policy.decide = lambda exchange: exchange.answer(
            Answer(status if exchange.request.target == b"/first" else 200, b"body")
        )
        client = await proxy.open()
        await client.send(
            b"GET /first HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
        first, second = (await client.eof()).split(b"\r\n\r\n", 1)
        assert b"content-length" not in first.lower()
        assert second.startswith(b"HTTP/1.1 200 ")


async def test_an_app_that_answers_before_reading_is_heard() -> None:
    async def answer(call: Call) -> None:
        await call.respond(413, b"too much")
        await call.closed()

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.request(method="POST", headers=["Content-Length: 1000000"])
        await client.send(b"x" * 1000)
        response = await client.response()
        assert (response.status, response.body, response.value("connection")) == (413, b"too much", "close")
        await eventually(lambda: proxy.policy.ended_with == [Outcome.COMPLETE])
        assert proxy.pool.idle_count == 0


@pytest.mark.parametrize(
    ("request_", "want"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"Connection: close"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"Connection: keep-alive"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", b"Connection: close"),
    ],
)
async def test_what_a_client_is_told_about_its_connection(request_: bytes, want: bytes) -> None:
    async with running_app() as app, running_proxy(app.port) as proxy:
        client = await proxy.open()
        for _ in range(2 if b"keep-alive" in request_ else 1):
            await client.send(request_)
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert want in head.split(b"\r\n")
            assert await client.reader.readexactly(5) == b"hello"
        if b"keep-alive" not in request_:
            assert await client.eof() == b""


async def test_a_client_of_http_1_0_gets_the_payload_without_chunks() -> None:
    async def answer(call: Call) -> None:
        await call.start_chunked()
        for part in (b"a", b"bc", b""):
            await call.chunk(part)

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        response = await client.response()
        assert (response.body, response.values("transfer-encoding")) == (b"abc", [])


@pytest.mark.parametrize("answer_", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_response_to_head_has_no_body_whatever_it_declares(answer_: bytes) -> None:
    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\n" + answer_ + b"\r\n")

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        client = await proxy.open()
        for _ in range(2):
            await client.request(method="HEAD")
            assert (await client.response(method="HEAD")).status == 200
        assert app.connections == 1


async def test_every_split_of_requests_gives_the_same_answers() -> None:
    async def answer(call: Call) -> None:
        body, _ = await call.body()
        await call.respond(200, call.target.encode() + body)

    requests = (
        b"\r\nPOST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        b"GET /b HTTP/1.1\r\nHost: h\r\n\r\nPOST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy"
    )
    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        for cut in range(0, len(requests), 3):
            client = await proxy.open()
            await client.send(requests[:cut])
            await asyncio.sleep(0)
            await client.send(requests[cut:])
            assert [(await client.response()).body for _ in range(3)] == [b"/aabc", b"/b", b"/cxy"]
            client.close()


async def test_stopping_lets_what_runs_finish_and_closes_what_is_idle() -> None:
    release = asyncio.Event()

    async def answer(call: Call) -> None:
        if call.target == "/slow":
            await release.wait()
        await call.respond(200, b"done")

    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        idle, busy = await proxy.open(), await proxy.open()
        await idle.request()
        assert (await idle.response()).status == 200
        await busy.request("/slow")
        await app.call(1)
        stopping = asyncio.create_task(proxy.server.stop())
        assert await idle.eof() == b""
        assert not stopping.done()
        with pytest.raises(OSError, match="refused"):
            await Client.open("127.0.0.1", proxy.port)
        release.set()
        response = await busy.response()
        assert (response.body, response.value("connection")) == (b"done", "close")
        await stopping


async def test_many_connections_at_once_are_all_served() -> None:
    async with running_app() as app, running_proxy(app.port) as proxy:
        statuses = await asyncio.gather(*(fetch("127.0.0.1", proxy.port) for _ in range(300)))
        assert {response.status for response in statuses} == {200}
        assert proxy.server.in_flight == 0


def test_without_a_host_ipv4_and_ipv6_are_accepted() -> None:
    with listening_socket(None, 0) as sock:
        sock.listen()
        port = sock.getsockname()[1]
        for address in ("127.0.0.1", "::1") if sock.family == socket.AF_INET6 else ("127.0.0.1",):
            with socket.create_connection((address, port), timeout=5):
                pass


@pytest.mark.parametrize("reset", [False, True])
async def test_a_peer_that_accepts_and_leaves_gives_502_and_never_silence(reset: bool) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    loop = asyncio.get_running_loop()

    def hang_up() -> None:
        connection, _ = listener.accept()
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    loop.add_reader(listener, hang_up)
    try:
        async with running_proxy(listener.getsockname()[1]) as proxy:

            async def ask() -> bytes:
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
                return answer[:12]

            async with asyncio.timeout(20):
                answers = await asyncio.gather(*(ask() for _ in range(200)))
            assert set(answers) == {b"HTTP/1.1 502"}
    finally:
        loop.remove_reader(listener)
        listener.close()


async def test_a_connection_whose_answers_filled_it_is_read_again_when_they_were_taken() -> None:
    async with running_proxy(1) as proxy:
        proxy.policy.decide = lambda exchange: exchange.answer(Answer(200, b"z" * 4000))
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", proxy.port))
            asked = 0

            async def ask() -> None:
                nonlocal asked
                await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                asked += 1
                await eventually(lambda: len(proxy.policy.ended_with) == asked, timeout_s=0.5)

            async def fill() -> None:
                for _ in range(5000):
                    await ask()

            with pytest.raises(AssertionError):  # it is full and reads no more
                await fill()
            taken = 0
            async with asyncio.timeout(20):
                while taken < asked * 4000:
                    taken += (await loop.sock_recv(client, 1 << 20)).count(b"z")


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_while_its_half_sent_request_waits_is_noticed_although_nobody_reads(
    reset: bool,
) -> None:
    async with running_proxy(1) as proxy:
        proxy.policy.decide = proxy.policy.held.append
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", proxy.port))
            await loop.sock_sendall(
                client, b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 60_000
            )
            await eventually(lambda: len(proxy.policy.held) == 1)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await eventually(lambda: proxy.policy.cancelled_count == 1)
        assert proxy.policy.ended_with == [Outcome.CLIENT_GONE]


async def test_a_client_that_shut_down_its_half_behind_a_whole_request_gets_it_through_to_a_slow_app() -> None:
    go = asyncio.Event()
    received = b""

    async def answer(call: Call) -> None:
        nonlocal received
        await go.wait()
        received, _ = await call.body()

    data = os.urandom(20_000_000)
    async with running_app(answer) as app, running_proxy(app.port) as proxy:
        client = await proxy.open()
        client.writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        client.writer.write_eof()
        await app.call()
        await asyncio.sleep(0.3)  # several looks at the connection while it is not read
        assert not proxy.policy.ended_with
        go.set()
        await eventually(lambda: received == data, timeout_s=20)


@pytest.mark.parametrize(
    ("upgrade", "sent", "farewell"),
    [
        ("websocket", b"\x81\x03abc", b"\x88\x02\x03\xe9"),
        ("websocket", b"\x81\x03ab", b""),  # in the middle of a frame nothing can be put in
        ("websocket", b"\x88\x02\x03\xe8", b""),  # the app said goodbye itself
        ("tcp-over-http", b"\x81\x03abc", b""),
    ],
)
async def test_a_websocket_that_outlives_the_drain_is_told(upgrade: str, sent: bytes, farewell: bytes) -> None:
    async def switch(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n" % upgrade.encode() + sent
        )
        await call.closed()

    async with running_app(switch) as app, running_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.request(headers=["Connection: Upgrade", f"Upgrade: {upgrade}"])
        assert (await client.head()).status == 101
        await app.call()
        received = await client.reader.readexactly(len(sent))
        await proxy.server.stop(tunnel_grace_s=0.0)
        assert received == sent
        assert await client.eof() == farewell


async def test_a_burst_of_thousands_of_requests_is_dialled_for_in_turns() -> None:
    async with running_app() as app, running_proxy(app.port) as proxy:
        held: list[Exchange] = []
        proxy.policy.decide = held.append
        clients = [await proxy.open() for _ in range(1500)]
        for client in clients:
            await client.request()
        await eventually(lambda: len(held) == 1500)
        for exchange in held:
            proxy.policy.forward(exchange)  # all in one turn of the loop
        clients.pop().close()  # one that leaves while it waits
        for client in clients:
            assert (await client.response()).status == 200
        # Who waits takes a connection that has become free meanwhile.
        assert len({call.connection for call in app.calls}) < 1000


async def test_those_who_wait_to_be_dialled_for_learn_that_nobody_is_there() -> None:
    async with running_proxy(1) as proxy:
        clients = [await proxy.open() for _ in range(200)]
        for client in clients:
            await client.request()
        for client in clients:
            response = await client.response()
            assert response.status == 502
            assert b"connection refused" in response.body


@pytest.mark.parametrize(
    ("error", "later"), [(Unreachable("refused"), 200), (Unanswered("timed out"), 502)], ids=["refused", "unanswered"]
)
async def test_who_waits_to_be_dialled_for_and_came_during_a_dial_that_is_refused_has_another_one(
    error: Unreachable, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_DIALS_MAX", 1)
    async with running_app() as app, running_proxy(app.port) as proxy:
        endpoint = proxy.policy.endpoint
        dialler = RefusedOnce(endpoint.dialler, error)
        endpoint.dialler = dialler  # type: ignore[assignment]
        clients = [await proxy.open() for _ in range(3)]
        await clients[0].request()
        await dialler.began.wait()
        for client in clients[1:]:
            await client.request()
        await eventually(lambda: proxy.server.active == 3)
        dialler.may_end.set()
        assert [(await client.response()).status for client in clients] == [502, later, later]


async def test_who_waited_when_a_dial_began_that_is_refused_is_told_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_DIALS_MAX", 1)
    async with running_app() as app, running_proxy(app.port) as proxy:
        endpoint = proxy.policy.endpoint
        first = RefusedOnce(endpoint.dialler, Unreachable("refused"))
        second = RefusedOnce(endpoint.dialler, Unreachable("refused again"))
        endpoint.dialler = first  # type: ignore[assignment]
        clients = [await proxy.open() for _ in range(4)]
        for number, client in enumerate(clients[:3]):
            await client.request()
            await eventually(lambda number=number: proxy.server.active == number + 1)  # type: ignore[misc]
        await first.began.wait()
        endpoint.dialler = second  # type: ignore[assignment]
        first.may_end.set()
        await second.began.wait()
        await clients[3].request()
        await eventually(lambda: len(proxy.policy.ended_with) == 1 and proxy.server.active == 3)
        second.may_end.set()
        assert [(await client.response()).status for client in clients] == [502, 502, 502, 200]
