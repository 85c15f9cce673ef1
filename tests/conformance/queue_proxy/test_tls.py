"""Statements 83 to 87: the TLS port. It serves what the main port serves, HTTP/2 with and without ALPN."""

import asyncio
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from tests.conformance.queue_proxy.tunnels import echo_tunnel, open_tunnel
from tests.support.certificates import Authority
from tests.support.h2_peers import Http2Client, running_http2_app
from tests.support.http import Client, fetch, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import QueueProxy, environment, exit_of, running_queue_proxy

TLS_PORT = 8112
NAME = "127.0.0.1"
"""What the certificates are for; clients say so, wherever they connect to."""
PROBE = ("User-Agent: kube-probe/1.34", "K-Network-Probe: queue")


class Mount:
    """The directory that the controller mounts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.path = folder / "certs"
        self.path.mkdir()
        self._issued = 0

    def renew(self) -> bytes:
        """Put a new pair there; return its certificate in DER."""
        self._issued += 1
        certificate, key = self.authority.issue(NAME, f"server{self._issued}")
        shutil.copy(certificate, self.path / "tls.crt")
        shutil.copy(key, self.path / "tls.key")
        return ssl.PEM_cert_to_DER_cert(certificate.read_text())

    def trusting(self, *alpn: str) -> ssl.SSLContext:
        """A client's context."""
        context = ssl.create_default_context(cafile=str(self.authority.ca_file))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path)


async def connect(proxy: QueueProxy, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(proxy.host, TLS_PORT, ssl=context, server_hostname=NAME)
    proxy.clients.append(Client(reader, writer))
    return reader, writer


async def shown(proxy: QueueProxy, context: ssl.SSLContext) -> bytes:
    """The certificate of a new connection, in DER."""
    _, writer = await connect(proxy, context)
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate


async def answer(proxy: QueueProxy, context: ssl.SSLContext) -> tuple[str, bytes]:
    """The version of TLS, and the body of a response over HTTP/1.1."""
    reader, writer = await connect(proxy, context)
    client = Client(reader, writer)
    await client.request()
    return writer.get_extra_info("ssl_object").version(), (await client.response()).body


async def test_83_with_a_certificate_the_port_serves_tls_1_3_with_it_and_nothing_older(mount: Mount) -> None:
    certificate = mount.renew()
    async with running_app() as app, running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy:
        assert await answer(proxy, mount.trusting()) == ("TLSv1.3", b"hello")
        assert await shown(proxy, mount.trusting()) == certificate
        old = mount.trusting()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        # An alert or a reset: whether the one arrives before the other is chance.
        with pytest.raises(OSError, match=r"(?i)alert|reset|^$"):
            await connect(proxy, old)
        # The main port stays open, in plaintext.
        assert (await proxy.fetch()).body == b"hello"
        assert (await fetch(proxy.host, 8022, "/other")).status == 404


async def test_83_tls_1_2_is_served_when_told_so(mount: Mount) -> None:
    mount.renew()
    variables = {"KNUV_CERTIFICATES": str(mount.path), "QUEUE_PROXY_TLS_MIN_VERSION": "1.2"}
    old = mount.trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running_app() as app, running_queue_proxy(app.port, **variables) as proxy:
        assert await answer(proxy, old) == ("TLSv1.2", b"hello")
        assert await answer(proxy, mount.trusting()) == ("TLSv1.3", b"hello")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QUEUE_PROXY_TLS_MIN_VERSION", "1.1"),
        ("QUEUE_PROXY_TLS_MAX_VERSION", "1.4"),
        ("QUEUE_PROXY_TLS_CIPHER_SUITES", "TLS_NO_SUCH_SUITE"),
        ("QUEUE_PROXY_TLS_CURVE_PREFERENCES", "X448"),
    ],
)
async def test_84_settings_that_do_not_exist_end_the_start(mount: Mount, variable: str, value: str) -> None:
    mount.renew()
    code, stderr = await exit_of(environment(KNUV_CERTIFICATES=str(mount.path), **{variable: value}))
    assert code == 1
    assert variable in stderr


async def test_84_they_do_not_matter_without_a_certificate(mount: Mount) -> None:
    variables = {"KNUV_CERTIFICATES": str(mount.path), "QUEUE_PROXY_TLS_MIN_VERSION": "1.1"}
    async with running_app() as app, running_queue_proxy(app.port, **variables) as proxy:
        assert (await proxy.fetch()).body == b"hello"


async def test_a_pair_that_is_none_ends_the_start(mount: Mount) -> None:
    mount.renew()
    (mount.path / "tls.key").write_text("nonsense")
    code, stderr = await exit_of(environment(KNUV_CERTIFICATES=str(mount.path)))
    assert code == 1
    assert "tls.key" in stderr


async def test_85_a_new_pair_is_shown_within_61_s_and_garbage_never(mount: Mount) -> None:
    first = mount.renew()
    async with running_app() as app, running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy:
        assert await shown(proxy, mount.trusting()) == first
        reader, writer = await connect(proxy, mount.trusting())
        for name in ("tls.crt", "tls.key"):
            (mount.path / name).write_text("garbage")
        await eventually(lambda: any(e["message"] == "certificate_kept" for e in proxy.events), timeout_s=61)
        assert await shown(proxy, mount.trusting()) == first
        second = mount.renew()
        assert second != first

        async def is_shown() -> bool:
            return await shown(proxy, mount.trusting()) == second

        await eventually(is_shown, timeout_s=61)
        # What was connected before goes on.
        client = Client(reader, writer)
        await client.request()
        assert (await client.response()).body == b"hello"


@pytest.mark.parametrize("alpn", [(), ("h2",), ("h2", "http/1.1")])
async def test_86_http_2_is_served_with_and_without_alpn(mount: Mount, alpn: tuple[str, ...]) -> None:
    mount.renew()
    async with running_http2_app() as app, running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy:
        reader, writer = await connect(proxy, mount.trusting(*alpn))
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == ("h2" if alpn else None)
        client = Http2Client(reader, writer, is_client=True)
        client.reading = asyncio.ensure_future(client.read_on())
        proxy.clients.append(client)
        for _ in range(3):
            response = await client.fetch("/x", method="POST", body=b"data")
            assert (response.status, response.body) == (200, b"hello")
        assert [(call.target, call.body) for call in app.calls] == [("/x", b"data")] * 3


async def test_86_http_1_is_served_beside_it(mount: Mount) -> None:
    mount.renew()
    async with running_app() as app, running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy:
        for alpn in ((), ("http/1.1",), ("h2", "http/1.1")):
            reader, writer = await connect(proxy, mount.trusting(*[name for name in alpn if name != "h2"]))
            client = Client(reader, writer)
            await client.request("/", headers=PROBE)
            assert (await client.response()).body == b"queue"
            await client.request("/a", method="POST", body=b"data")
            assert (await client.response()).body == b"hello"
        assert {call.version for call in app.calls} == {"HTTP/1.1"}
        assert {call.values("x-forwarded-for")[0] for call in app.calls} == {"127.0.0.1"}


async def test_87_without_a_certificate_the_port_is_closed_and_the_main_port_works(mount: Mount) -> None:
    async with running_app() as app, running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy:
        assert not proxy.accepts(TLS_PORT)
        assert (await proxy.fetch()).body == b"hello"
        # Decided at the start: a certificate that comes later does not open it.
        mount.renew()
        assert not proxy.accepts(TLS_PORT)


async def test_47_a_tunnel_goes_through_tls_and_its_end_is_told(mount: Mount) -> None:
    mount.renew()
    async with (
        running_app(echo_tunnel) as app,
        running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy,
    ):
        reader, writer = await connect(proxy, mount.trusting())
        tunnel = await open_tunnel(proxy, Client(reader, writer))
        await tunnel.send(b"x" * 50_000)
        assert await tunnel.reader.readexactly(50_000) == b"x" * 50_000


async def test_a_session_is_resumed(mount: Mount) -> None:
    mount.renew()
    context = mount.trusting()

    def ask(host: str, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
        with (
            socket.create_connection((host, TLS_PORT), timeout=20) as raw,
            context.wrap_socket(raw, server_hostname=NAME, session=session) as sock,
        ):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            while sock.recv(65_536):
                pass
            return sock.session, bool(sock.session_reused)

    async with running_app() as app, running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy:
        session, is_reused = await asyncio.to_thread(ask, proxy.host, None)
        assert not is_reused
        _, is_reused = await asyncio.to_thread(ask, proxy.host, session)
        assert is_reused
