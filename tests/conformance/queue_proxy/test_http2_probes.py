"""Statement 27 and spec section 13.3: readiness probes that speak HTTP/2."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager

import pytest

from proxies.wire.protobuf import varint_field
from tests.support import http2
from tests.support.queue_proxy import QueueProxy, running_queue_proxy


def grpc_probe(port: int, service: str = "", timeout_s: int = 5) -> str:
    return json.dumps({"grpc": {"port": port, "service": service}, "periodSeconds": 1, "timeoutSeconds": timeout_s})


def message(status: int) -> bytes:
    content = varint_field(1, status) if status else b""
    return b"\0" + len(content).to_bytes(4) + content


async def answered(
    body: bytes, *, status: str = "200", grpc_status: str = "0", service: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Answer one health check; return the probe's verdict, and the check's head and message."""
    async with (
        http2.running_app() as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=grpc_probe(app.port, service)) as proxy,
    ):
        probe = asyncio.ensure_future(proxy.probe())
        peer = await app.accepted()
        asked, _, stream_id = await peer.fields()
        check = await peer.body(stream_id)
        peer.head(stream_id, (":status", status), ("content-type", "application/grpc"))
        peer.data(stream_id, body)
        peer.head(stream_id, ("grpc-status", grpc_status), done=True)
        return (await probe).status, asked, check


async def test_27_a_grpc_probe_is_a_health_check_and_ready_when_serving() -> None:
    status, asked, check = await answered(message(1))
    assert status == 200
    assert asked[":method"] == "POST"
    assert asked[":path"] == "/grpc.health.v1.Health/Check"
    assert asked["content-type"] == "application/grpc"
    assert asked["te"] == "trailers"
    assert asked["user-agent"].startswith("kube-probe//")
    assert check == b"\0\0\0\0\0"


async def test_27_a_grpc_probe_names_its_service() -> None:
    status, _, check = await answered(message(1), service="greeter")
    assert status == 200
    assert check == b"\0\0\0\0\x09\x0a\x07greeter"


@pytest.mark.parametrize(
    ("body", "status", "grpc_status"),
    [
        pytest.param(message(2), "200", "0", id="not serving"),
        pytest.param(message(0), "200", "0", id="unknown"),
        pytest.param(message(3), "200", "0", id="service unknown"),
        pytest.param(message(1), "200", "12", id="unimplemented"),
        pytest.param(message(1), "503", "0", id="no gRPC at all"),
        pytest.param(b"\1" + message(1)[1:], "200", "0", id="compressed"),
        pytest.param(message(1)[:-1], "200", "0", id="cut off"),
        pytest.param(b"", "200", "0", id="nothing"),
    ],
)
async def test_27_a_grpc_probe_is_not_ready_otherwise(body: bytes, status: str, grpc_status: str) -> None:
    assert (await answered(body, status=status, grpc_status=grpc_status))[0] == 503


async def test_27_a_grpc_probe_without_a_limit_of_time_is_never_ready() -> None:
    async with (
        http2.running_app() as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=grpc_probe(app.port, timeout_s=0)) as proxy,
    ):
        assert (await proxy.probe()).status == 503


async def test_27_a_grpc_probe_of_an_app_of_http1_or_of_none_is_not_ready() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running_queue_proxy(port, SERVING_READINESS_PROBE=grpc_probe(port)) as proxy:
        assert (await proxy.probe()).status == 503
    async with running_queue_proxy(1, SERVING_READINESS_PROBE=grpc_probe(1)) as proxy:
        assert (await proxy.probe()).status == 503


def detecting(port: int) -> AbstractAsyncContextManager[QueueProxy]:
    headers = [{"name": "X-Probe", "value": "yes"}]
    get = {"host": "127.0.0.1", "port": port, "path": "healthz?a=1", "scheme": "HTTP", "httpHeaders": headers}
    probe = json.dumps({"httpGet": get, "periodSeconds": 1, "timeoutSeconds": 5})
    return running_queue_proxy(port, SERVING_READINESS_PROBE=probe, ENABLE_HTTP2_AUTO_DETECTION="true")


@pytest.mark.parametrize(("second", "verdict"), [("200", 200), ("399", 200), ("500", 503)])
async def test_an_app_of_http2_is_asked_twice_and_only_then_with_the_probes_headers(second: str, verdict: int) -> None:
    async with http2.running_app() as app, detecting(app.port) as proxy:
        probe = asyncio.ensure_future(proxy.probe())
        for answer, header in (("200", None), (second, "yes")):
            peer = await app.accepted()
            asked, is_done, stream_id = await peer.fields()
            assert is_done
            assert (asked[":method"], asked[":path"]) == ("GET", "/healthz?a=1")
            assert asked["user-agent"] == "kube-probe//"
            assert asked.get("x-probe") == header
            peer.head(stream_id, (":status", answer), done=True)
        assert (await probe).status == verdict


async def test_an_app_of_http1_is_asked_without_the_probes_headers() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        status = b"400 Bad Request" if heads[-1].startswith(b"PRI ") else b"200 OK"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, detecting(server.sockets[0].getsockname()[1]) as proxy:
        assert (await proxy.probe()).status == 200
        assert len(heads) == 2
        assert heads[1].startswith(b"GET /healthz?a=1 HTTP/1.1\r\n")
        assert b"\r\nUser-Agent: kube-probe//\r\n" in heads[1]
        assert b"x-probe" not in heads[1].lower()
