"""The same programs over TLS: curl, nghttp, h2load and grpcio choose HTTP/2 by ALPN, WebSockets stay on HTTP/1.1."""

import asyncio
import hashlib
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import grpc.aio
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.interop.calls import CALL_S, Echo
from tests.interop.grpc_app import UNLIMITED, numbered
from tests.interop.peers import grpc_app, nghttpd, run
from tests.support.certificates import Authority
from tests.support.h2_peers import running_http2_app
from tests.support.http import running_app
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

TLS_PORT = 8112
LARGE = bytes(range(256)) * (10 * 1024 * 1024 // 256)
NAME = "127.0.0.1"


class Secured(NamedTuple):
    """A queue-proxy with a certificate for `NAME`."""

    proxy: QueueProxy
    authority: Path

    @property
    def curl(self) -> tuple[str, ...]:
        """A command line that reaches it under that name."""
        there = f"{NAME}:{TLS_PORT}:{self.proxy.host}:{TLS_PORT}"
        return (
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "40",
            "--cacert",
            str(self.authority),
            "--connect-to",
            there,
        )


@asynccontextmanager
async def secured(app_port: int, folder: Path) -> AsyncIterator[Secured]:
    authority = Authority(folder)
    certificates = folder / "certificates"
    certificates.mkdir()
    for path, name in zip(authority.issue(NAME), ("tls.crt", "tls.key"), strict=True):
        shutil.copy(path, certificates / name)
    async with running_queue_proxy(app_port, KNUV_CERTIFICATES=str(certificates)) as proxy:
        yield Secured(proxy, authority.ca_file)


@pytest.mark.parametrize(("flag", "version"), [("--http2", "2"), ("--http2-prior-knowledge", "2")])
async def test_curl_gets_http_2_by_alpn(tmp_path: Path, flag: str, version: str) -> None:
    async with running_http2_app() as app, secured(app.port, tmp_path) as there:
        told = ("--write-out", " %{http_version} %{ssl_verify_result}")
        done = await run(*there.curl, flag, *told, f"https://{NAME}:{TLS_PORT}/hello")
        assert (done.code, done.out, done.err) == (0, f"hello {version} 0", "")
        assert [call.target for call in app.calls] == ["/hello"]


@pytest.mark.parametrize("flags", [("--http1.1",), ("--no-alpn",), ("--http2", "--no-alpn")])
async def test_curl_gets_http_1_where_it_does_not_ask_for_more(tmp_path: Path, flags: tuple[str, ...]) -> None:
    async with running_app() as app, secured(app.port, tmp_path) as there:
        done = await run(*there.curl, *flags, "--write-out", " %{http_version}", f"https://{NAME}:{TLS_PORT}/hello")
        assert (done.code, done.out) == (0, "hello 1.1")
        assert app.calls[0].version == "HTTP/1.1"


async def test_curl_uploads_and_downloads_10_mib(tmp_path: Path) -> None:
    data, back = tmp_path / "data", tmp_path / "back"
    data.write_bytes(LARGE)
    async with nghttpd(tmp_path, {}, "--echo-upload") as app_port, secured(app_port, tmp_path) as there:
        upload = ("--http2", "--data-binary", f"@{data}", "--output", str(back))
        assert (await run(*there.curl, *upload, f"https://{NAME}:{TLS_PORT}/echo")).code == 0
        assert back.read_bytes() == LARGE


async def test_nghttp_and_h2load_choose_http_2(tmp_path: Path) -> None:
    async with (
        nghttpd(tmp_path, {"hello": b"hello\n", "large": LARGE}) as app_port,
        secured(app_port, tmp_path) as there,
    ):
        url = f"https://{there.proxy.host}:{TLS_PORT}"
        assert (await run("nghttp", "--no-verify-peer", f"{url}/hello")).out == "hello\n"
        done = await run("nghttp", "--no-verify-peer", f"{url}/large")
        assert hashlib.sha256(done.raw).digest() == hashlib.sha256(LARGE).digest()
        done = await run("h2load", "--clients=4", "--max-concurrent-streams=25", "--requests=2000", f"{url}/hello")
        assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in done.out
        assert "Application protocol: h2" in done.out
        assert "TLS Protocol: TLSv1.3" in done.out


async def test_h2load_over_http_1(tmp_path: Path) -> None:
    async with running_app() as app, secured(app.port, tmp_path) as there:
        url = f"https://{there.proxy.host}:{TLS_PORT}/hello"
        done = await run("h2load", "--h1", "--clients=10", "--requests=500", url)
        assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in done.out
        assert "Application protocol: http/1.1" in done.out


async def test_grpcio_calls_through_tls(tmp_path: Path) -> None:
    async with grpc_app() as app_port, secured(app_port, tmp_path) as there:
        credentials = grpc.ssl_channel_credentials(there.authority.read_bytes())
        options = (*UNLIMITED, ("grpc.ssl_target_name_override", NAME), ("grpc.enable_http_proxy", 0))
        where = f"{there.proxy.host}:{TLS_PORT}"
        async with grpc.aio.secure_channel(where, credentials, options=options) as channel:
            echo = Echo(channel)
            assert await echo.unary(LARGE, timeout=CALL_S) == LARGE
            messages = [numbered(number, 1000) for number in range(200)]
            assert [message async for message in echo.chat(iter(messages), timeout=CALL_S)] == messages
            assert await asyncio.gather(*(echo.unary(message, timeout=CALL_S) for message in messages)) == messages


async def test_websockets_go_through_tls(tmp_path: Path) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        app_port = next(iter(server.sockets)).getsockname()[1]
        async with secured(app_port, tmp_path) as there:
            context = ssl.create_default_context(cafile=str(there.authority))
            url = f"wss://{there.proxy.host}:{TLS_PORT}/"
            # The end of the connection that the server closes has to come at once; the client would wait for 10 s.
            async with connect(url, ssl=context, server_hostname=NAME) as client:
                for message in ("hello", b"\0" * 100_000):
                    await client.send(message)
                    assert await client.recv() == message
                async with asyncio.timeout(5):
                    await client.close()
            assert client.close_code == 1000


async def test_openssl_trusts_the_certificate_and_resumes_its_session(tmp_path: Path) -> None:
    async with running_app() as app, secured(app.port, tmp_path) as there:
        where = ("-connect", f"{there.proxy.host}:{TLS_PORT}", "-servername", NAME, "-CAfile", there.authority)
        request = b"GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        for kind, flag in (("New", "-sess_out"), ("Reused", "-sess_in")):
            flags = ("-tls1_3", "-verify_return_error", "-ign_eof", flag, tmp_path / "session")
            done = await run("openssl", "s_client", *where, *flags, stdin=request)
            assert done.code == 0, done.err
            assert f"\n{kind}, TLSv1.3, " in done.out
            assert "HTTP/1.1 200 " in done.out
        assert [call.target for call in app.calls] == ["/hello"] * 2
