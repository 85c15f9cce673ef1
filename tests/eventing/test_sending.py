"""`eventing/sending.py`: from a URL to the answer, with names, several addresses, and TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventing.authorities import Authorities
from eventing.destinations import parse_url, shown_url
from eventing.sending import DestinationError, Sender
from proxies.calls import Call
from tests.support.certificates import Authority
from tests.support.http import Call as Asked
from tests.support.http import running_app
from tests.support.processes import eventually


class Names:
    """A name service that says what it is told to."""

    def __init__(self, **answers: list[tuple[str, int]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.problem: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        self.asked.append(host)
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        return self.answers.get(host.partition(".")[0], [])


@asynccontextmanager
async def running(names: Names, authorities: Authorities | None = None) -> AsyncIterator[Sender]:
    sender = Sender(asyncio.get_running_loop(), names, authorities=authorities)
    try:
        yield sender
    finally:
        await sender.close()
    assert sender.under_way == 0


async def post(sender: Sender, url: str, body: bytes = b"{}", ca_certs: str = "", timeout_s: float = 20.0) -> Call:
    future: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
    sender.post(sender.destination(url, ca_certs), b"Ce-Id: 1\r\n", body, future.set_result, timeout_s=timeout_s)
    return await asyncio.wait_for(future, 30)


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("http://a", ("http", "a", 80, "a", "/")),
        ("https://A.b:8443/p?q=1", ("https", "a.b", 8443, "A.b:8443", "/p?q=1")),
        ("http://[::1]:80/ä b#f", ("http", "::1", 80, "[::1]:80", "/%C3%A4%20b")),
        ("http://a/%41?x=%20&y", ("http", "a", 80, "a", "/%41?x=%20&y")),
        ("ftp://a/lost?also=lost", ("http", "a", 80, "a", "/")),
    ],
)
def test_a_url_says_where_to_and_what_for(url: str, parsed: tuple[str, str, int, str, str]) -> None:
    assert parse_url(url) == parsed


@pytest.mark.parametrize(
    "url",
    ["", "a", "http://", "http:///p", "http://a:99999", "http://u:p@a/", "http://a b/", "http://[::1", "http://ä/"],
)
def test_what_nothing_can_be_sent_to_is_refused(url: str) -> None:
    with pytest.raises(DestinationError):
        parse_url(url)


async def test_a_request_has_what_it_needs_and_nothing_else() -> None:
    async with running_app() as app, running(Names(sink=[("127.0.0.1", app.port)])) as sender:
        call = await post(sender, "http://sink.default.svc.cluster.local/a%20b?c")
        assert (call.status, call.body) == (200, b"hello")
        assert app.calls[0].raw_head.decode().split("\r\n") == [
            "POST /a%20b?c HTTP/1.1",
            "Host: sink.default.svc.cluster.local",
            "User-Agent: knuv",
            "Content-Length: 2",
            "Ce-Id: 1",
            "",
            "",
        ]


async def test_a_name_is_asked_for_once_however_many_wait() -> None:
    async with running_app() as app:
        names = Names(sink=[("127.0.0.1", app.port)])
        names.gate.clear()
        async with running(names) as sender:
            posts = [asyncio.create_task(post(sender, f"http://sink/{number}")) for number in range(20)]
            await eventually(lambda: sender.under_way == 20)
            names.gate.set()
            assert {call.status for call in await asyncio.gather(*posts)} == {200}
            await post(sender, "http://sink/again")
            assert names.asked == ["sink"]


async def test_addresses_take_turns() -> None:
    async with running_app() as one, running_app() as two:
        names = Names(sink=[("127.0.0.1", one.port), ("127.0.0.1", two.port)])
        async with running(names) as sender:
            for _ in range(10):
                await post(sender, "http://sink/")
            assert (len(one.calls), len(two.calls)) == (5, 5)


async def test_an_address_that_moved_is_found_by_its_name() -> None:
    async with running_app() as app:
        names = Names(sink=[("127.0.0.1", 1)])
        async with running(names) as sender:
            refused = await post(sender, "http://sink/")
            assert (refused.status, "refused" in refused.reason) == (0, True)
            names.answers["sink"] = [("127.0.0.1", 1), ("127.0.0.1", app.port)]
            sender.destination("http://sink/").host._asked_s -= 10
            assert (await post(sender, "http://sink/")).status == 200


async def test_a_name_without_addresses_is_the_reason() -> None:
    names = Names()
    async with running(names) as sender:
        assert (await post(sender, "http://sink/")).reason == "dial tcp: lookup sink: no address is ready"
        names.problem = OSError("the API does not answer")
        assert (await post(sender, "http://sink/")).reason == "dial tcp: lookup sink: the API does not answer"
        names.problem, names.answers["sink"] = None, [("127.0.0.1", 1)]
        assert "refused" in (await post(sender, "http://sink/")).reason


async def test_time_runs_while_a_name_is_asked_for() -> None:
    names = Names()
    names.gate.clear()
    async with running(names) as sender:
        assert (await post(sender, "http://sink/", timeout_s=0.05)).is_timed_out


async def test_what_waits_for_a_name_and_gave_up_is_not_kept() -> None:
    names = Names()
    names.gate.clear()
    async with running(names) as sender:
        host = sender.destination("http://slow/").host
        calls = []
        for _ in range(100):
            call = sender.post(sender.destination("http://slow/"), b"", bytes(1000), lambda call: None)
            calls.append(call)
            if len(calls) > 5:
                calls.pop(0).cancel()
        assert len(host._waiting) <= 16
        names.gate.set()
        await eventually(lambda: sender.under_way == 0)


async def test_nothing_is_lost_without_a_word_when_it_ends() -> None:
    names = Names()
    names.gate.clear()
    ended: list[Call] = []
    sender = Sender(asyncio.get_running_loop(), names)
    sender.post(sender.destination("http://sink/"), b"", b"", ended.append)
    await eventually(lambda: names.asked)
    await sender.close()
    assert [call.reason for call in ended] == ["shutting down"]


async def test_a_sink_with_an_authority_of_its_own_is_believed(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("127.0.0.1", dns=["localhost"]))
    pem, other_pem = authority.ca_file.read_text(), other.ca_file.read_text()
    mounted = tmp_path / "mounted"
    mounted.mkdir()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    authorities = Authorities(mounted=mounted)
    async with (
        server,
        running(Names(localhost=[("127.0.0.1", port)], elsewhere=[("127.0.0.1", port)]), authorities) as sender,
    ):
        assert (await post(sender, "https://localhost/", ca_certs=pem)).status == 200
        assert "certificate" in (await post(sender, "https://localhost/", ca_certs=other_pem)).reason
        assert "certificate" in (await post(sender, "https://localhost/")).reason
        assert "certificate" in (await post(sender, "https://elsewhere/", ca_certs=pem)).reason
        assert "CACerts" in (await post(sender, "https://localhost/", ca_certs="nonsense")).reason
        authorities.trust(pem)
        assert (await post(sender, "https://localhost/")).status == 200
        with pytest.raises(ValueError, match="PEM"):
            authorities.trust("nonsense")
        (mounted / "ca.pem").write_text(pem)
        authorities.trust("")
        assert (await post(sender, "https://localhost/")).status == 200


async def test_a_destination_that_was_forgotten_meanwhile_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventing.sending._DESTINATIONS_MAX", 1)
    names = Names(a=[("127.0.0.1", 1)], b=[("127.0.0.1", 1)])
    async with running(names) as sender:
        kept = sender.destination("http://a/")
        sender.destination("http://b/")
        future: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        sender.post(kept, b"", b"", future.set_result)
        assert (await asyncio.wait_for(future, 5)).reason == "shutting down"


async def test_destinations_are_kept_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventing.sending._DESTINATIONS_MAX", 3)

    async def hello(call: Asked) -> None:
        await call.body()
        await call.respond(200)

    async with (
        running_app(hello) as app,
        running(Names(**{f"s{n}": [("127.0.0.1", app.port)] for n in range(5)})) as sender,
    ):
        first = sender.destination("http://s0/")
        assert sender.destination("http://s0/") is first
        for number in range(5):
            assert (await post(sender, f"http://s{number}/")).status == 200
        assert sender.destination("http://s0/") is not first
        assert (await post(sender, "http://s0/")).status == 200


async def test_what_is_used_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventing.sending._DESTINATIONS_MAX", 3)
    async with running(Names()) as sender:
        used = sender.destination("http://used/")
        for number in range(10):
            sender.destination(f"http://other-{number}/")
            assert sender.destination("http://used/") is used


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://sink.ns/path?token=secret", "http://sink.ns/path"),
        ("https://user:secret@sink.ns:8443/a@b?c#d", "https://sink.ns:8443/a@b"),
        ("http://user:secret@sink.ns://x", "http://sink.ns://x"),
        ("http://sink.ns?token=secret/", "http://sink.ns"),
        ("http://sink.ns#secret?", "http://sink.ns"),
        ("user:secret@sink.ns/x", "sink.ns/x"),
        ("user:secret@sink.ns/x://y", "sink.ns/x://y"),
        ("//user:secret@sink.ns/x", "//sink.ns/x"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("jetstream:ns/name", "jetstream:ns/name"),
        ("", ""),
    ],
)
def test_neither_user_nor_query_of_a_url_is_told(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize("url", ["http://user:secret@/?secret", "http://sink:port/?secret", "http://u:secret@h/"])
def test_what_is_wrong_with_a_url_does_not_tell_its_secrets(url: str) -> None:
    with pytest.raises(DestinationError) as wrong:
        parse_url(url)
    assert "secret" not in str(wrong.value)
