"""nghttp, h2load and curl in front, nghttpd behind: HTTP/2 by prior knowledge and by upgrade."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.conftest import Through
from tests.interop.peers import nghttpd, proxy_by_nghttpx, run
from tests.support.h2_peers import Http2Call, running_http2_app
from tests.support.http import Call, running_app
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

LARGE = bytes(range(256)) * (10 * 1024 * 1024 // 256)
FILES = {"hello": b"hello\n", "large": LARGE}
CURL = ("curl", "--silent", "--show-error", "--max-time", "40")


@pytest.fixture
async def url(through: Through, tmp_path: Path) -> AsyncIterator[str]:
    """A proxy in front of nghttpd."""
    async with nghttpd(tmp_path, FILES) as port, through(port) as (host, proxy_port):
        yield f"http://{host}:{proxy_port}"


async def test_nghttp_asks_by_prior_knowledge(url: str) -> None:
    done = await run("nghttp", f"{url}/hello")
    assert (done.code, done.out) == (0, "hello\n")


async def test_nghttp_asks_for_an_upgrade(url: str) -> None:
    done = await run("nghttp", "--upgrade", "--verbose", f"{url}/hello")
    assert done.code == 0
    assert "HTTP Upgrade success" in done.out
    assert "recv (stream_id=1) :status: 200" in done.out
    assert "recv RST_STREAM" not in done.out


async def test_nghttp_uploads_with_an_upgrade(through: Through, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(LARGE[: 1024 * 1024])
    async with running_http2_app() as app, through(app.port) as (host, port):
        done = await run("nghttp", "--upgrade", f"--data={data}", f"http://{host}:{port}/up?load")
        assert (done.code, done.out) == (0, "hello")
        assert (app.calls[-1].value(":method"), app.calls[-1].target) == ("POST", "/up?load")
        assert app.calls[-1].body == LARGE[: 1024 * 1024]


async def test_nghttp_reads_a_large_body_through_small_windows(url: str, tmp_path: Path) -> None:
    flags = ("--window-bits=12", "--connection-window-bits=14", "--no-dep")
    done = await run("nghttp", *flags, f"{url}/large")
    assert done.code == 0
    assert hashlib.sha256(done.raw).digest() == hashlib.sha256(LARGE).digest()


async def test_nghttp_pads_frames_and_continues_heads(url: str) -> None:
    done = await run("nghttp", "--padding=255", "--continuation", f"{url}/hello")
    assert (done.code, done.out) == (0, "hello\n")


@pytest.mark.parametrize(("connections", "streams"), [(4, 25), (50, 1), (1, 250), (2, 1000)])
async def test_h2load_gets_an_answer_to_every_request(url: str, connections: int, streams: int) -> None:
    flags = (f"--clients={connections}", f"--max-concurrent-streams={streams}", "--requests=5000")
    done = await run("h2load", *flags, f"{url}/hello")
    assert "5000 succeeded, 0 failed, 0 errored, 0 timeout" in done.out
    assert "status codes: 5000 2xx" in done.out


async def test_h2load_takes_large_bodies_side_by_side(url: str) -> None:
    done = await run("h2load", "--clients=2", "--max-concurrent-streams=4", "--requests=8", f"{url}/large")
    assert "8 succeeded, 0 failed, 0 errored, 0 timeout" in done.out


@pytest.mark.parametrize("flag", ["--http2-prior-knowledge", "--http2"])
async def test_curl_gets_http_2(url: str, flag: str) -> None:
    done = await run(*CURL, flag, "--write-out", "%{http_code} %{http_version}", f"{url}/hello")
    assert (done.code, done.out) == (0, "hello\n200 2")


async def test_curl_uploads_and_downloads_10_mib(through: Through, tmp_path: Path) -> None:
    data, back = tmp_path / "data", tmp_path / "back"
    data.write_bytes(LARGE)
    async with nghttpd(tmp_path, FILES, "--echo-upload") as app_port, through(app_port) as (host, port):
        upload = ("--http2-prior-knowledge", "--data-binary", f"@{data}", "--output", back)
        done = await run(*CURL, *upload, f"http://{host}:{port}/echo")
        assert (done.code, done.err) == (0, "")
        assert back.read_bytes() == LARGE


@pytest.mark.parametrize(("size", "version"), [(1000, "2"), (1024 * 1024, "1.1")])
async def test_curl_offers_h2c_with_a_body(tmp_path: Path, size: int, version: str) -> None:
    """An offer is taken when its request is here whole; otherwise the request is one of HTTP/1.1, as it says itself."""
    data = tmp_path / "data"
    data.write_bytes(LARGE[:size])
    async with (
        running_http2_app() as app,
        proxy_by_nghttpx(app.port, tmp_path) as (_, app_port),
        running_queue_proxy(app_port) as proxy,
    ):
        upload = ("--http2", "--header", "Expect:", "--data-binary", f"@{data}", "--write-out", " %{http_version}")
        done = await run(*CURL, *upload, f"http://{proxy.host}:{proxy.port}/")
        assert (done.code, done.out) == (0, f"hello {version}")
        assert [call.body for call in app.calls] == [LARGE[:size]]


async def test_curl_sees_trailers(through: Through) -> None:
    async def answer(call: Http2Call) -> None:
        await call.start(200)
        await call.send(b"hello")
        await call.finish(("x-sum", "7"))

    async with running_http2_app(answer) as app, through(app.port) as (host, port):
        done = await run(*CURL, "--http2-prior-knowledge", "--include", f"http://{host}:{port}/")
        assert done.out.endswith("\r\nhellox-sum: 7\r\n")


async def test_http_1_in_front_of_an_app_of_http_2_only_is_a_502(tmp_path: Path) -> None:
    """The version towards the app is the client's: nghttpd does not understand the request, and that is told."""
    async with nghttpd(tmp_path, FILES) as app_port, running_queue_proxy(app_port) as proxy:
        await _expect_502("--http1.1", proxy, "1.1")


async def test_http_2_in_front_of_an_app_of_http_1_only_is_a_502() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, running_queue_proxy(server.sockets[0].getsockname()[1]) as proxy:
        await _expect_502("--http2-prior-knowledge", proxy, "2")


async def test_each_request_reaches_the_app_in_its_own_version(tmp_path: Path) -> None:
    """nghttpx as an app that speaks both on one port, and tells behind it (`via`) what came."""
    async with (
        running_http2_app() as app,
        proxy_by_nghttpx(app.port, tmp_path) as (_, port),
        running_queue_proxy(port) as proxy,
    ):
        for flag in ("--http1.1", "--http2-prior-knowledge", "--http2"):
            done = await run(*CURL, flag, f"http://{proxy.host}:{proxy.port}/")
            assert (done.code, done.out) == (0, "hello")
        assert [call.value("via") for call in app.calls] == ["1.1 nghttpx", "2 nghttpx", "2 nghttpx"]


@pytest.mark.parametrize("flag", ["--http1.1", "--http2-prior-knowledge", "--http2"])
async def test_an_app_whose_version_is_known_is_asked_in_it(tmp_path: Path, flag: str) -> None:
    """`KNUV_USER_PROTOCOL`: nghttpd behind every client; and an app of HTTP/1.1 behind every client."""
    data, back = tmp_path / "data", tmp_path / "back"
    data.write_bytes(LARGE)
    async with (
        nghttpd(tmp_path, FILES, "--echo-upload") as app_port,
        running_queue_proxy(app_port, KNUV_USER_PROTOCOL="h2c") as proxy,
    ):
        url = f"http://{proxy.host}:{proxy.port}"
        assert (await run(*CURL, flag, f"{url}/hello")).out == "hello\n"
        assert (await run(*CURL, flag, "--data-binary", f"@{data}", "--output", back, f"{url}/echo")).code == 0
        assert back.read_bytes() == LARGE
    async with running_app(_echo) as app, running_queue_proxy(app.port, KNUV_USER_PROTOCOL="http1") as proxy:
        url = f"http://{proxy.host}:{proxy.port}"
        assert (await run(*CURL, flag, "--data-binary", f"@{data}", "--output", back, f"{url}/echo")).code == 0
        assert back.read_bytes() == LARGE
        assert {call.version for call in app.calls} == {"HTTP/1.1"}


async def _echo(call: Call) -> None:
    body, _ = await call.body()
    await call.respond(200, body)


async def _expect_502(flag: str, proxy: QueueProxy, version: str) -> None:
    done = await run(
        *CURL, flag, "--write-out", "|%{http_code} %{http_version}", f"http://{proxy.host}:{proxy.port}/hello"
    )
    body, _, rest = done.out.rpartition("|")
    assert (done.code, rest) == (0, f"502 {version}")
    assert body.endswith("\n")
