"""Statement 27, and what gRPC clients are told when the answer is queue-proxy's own. grpcio on both sides."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.interop.calls import CALL_S, calling, failure
from tests.interop.grpc_app import NOT_SERVING, SERVING
from tests.interop.peers import grpc_app
from tests.support.h2_peers import Http2Call, Http2Client, running_http2_app
from tests.support.http import running_app
from tests.support.queue_proxy import running_queue_proxy

GRPC = (("content-type", "application/grpc"), ("te", "trailers"))


def probe(port: int, service: str | None = None, **fields: int) -> str:
    """A standard probe: one attempt, at most a second."""
    named = {"port": port} if service is None else {"port": port, "service": service}
    return json.dumps({"grpc": named, "periodSeconds": 1, "timeoutSeconds": 1, **fields})


class Health:
    """A health service whose answer a test sets."""

    def __init__(self) -> None:
        self.answer: bytes | grpc.StatusCode = SERVING
        self.asked: list[tuple[bytes, dict[str, str]]] = []

    async def check(self, message: bytes, context: Any) -> bytes:
        self.asked.append((message, dict(context.invocation_metadata())))
        if isinstance(self.answer, grpc.StatusCode):
            await context.abort(self.answer, "as told")
        assert isinstance(self.answer, bytes)
        return self.answer


@pytest.fixture
async def health() -> AsyncIterator[tuple[Health, int]]:
    health = Health()
    server = grpc.aio.server()
    methods = {"Check": grpc.unary_unary_rpc_method_handler(health.check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield health, port
    await server.stop(None)


async def test_27_an_app_is_ready_when_its_health_service_says_serving_and_only_then(
    health: tuple[Health, int],
) -> None:
    service, port = health
    async with running_queue_proxy(port, SERVING_READINESS_PROBE=probe(port)) as proxy:
        for answer, status in (
            (SERVING, 200),
            (NOT_SERVING, 503),
            (b"", 503),
            (b"\x08\x03", 503),
            (grpc.StatusCode.UNIMPLEMENTED, 503),
            (grpc.StatusCode.INTERNAL, 503),
            (SERVING, 200),
        ):
            service.answer = answer
            assert (await proxy.probe()).status == status, answer
        assert {message for message, _ in service.asked} == {b""}
        assert all(metadata["user-agent"].startswith("kube-probe//") for _, metadata in service.asked)


async def test_27_the_service_is_asked_for_by_its_name(health: tuple[Health, int]) -> None:
    service, port = health
    async with running_queue_proxy(port, SERVING_READINESS_PROBE=probe(port, "ready")) as proxy:
        assert (await proxy.probe()).status == 200
        assert [message for message, _ in service.asked] == [b"\x0a\x05ready"]


async def test_27_an_aggressive_probe_waits_until_it_serves(health: tuple[Health, int]) -> None:
    service, port = health
    service.answer = NOT_SERVING
    probing = probe(port, periodSeconds=0, timeoutSeconds=0, successThreshold=1)
    async with running_queue_proxy(port, SERVING_READINESS_PROBE=probing) as proxy:
        held = asyncio.ensure_future(proxy.probe())
        while len(service.asked) < 3:
            await asyncio.wait([held], timeout=0.01)
        assert not held.done()
        service.answer = SERVING
        assert (await held).status == 200


async def test_27_a_standard_probe_without_a_timeout_fails_at_once(health: tuple[Health, int]) -> None:
    service, port = health
    async with running_queue_proxy(port, SERVING_READINESS_PROBE=probe(port, timeoutSeconds=0)) as proxy:
        assert (await proxy.probe()).status == 503
        assert service.asked == []


async def test_27_what_does_not_speak_grpc_is_not_ready() -> None:
    async with (
        running_http2_app() as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=probe(app.port)) as proxy,
    ):
        assert (await proxy.probe()).status == 503
    async with running_queue_proxy(1, SERVING_READINESS_PROBE=probe(1)) as proxy:
        assert (await proxy.probe()).status == 503


# Answers of our own. The original gives gRPC clients the same as everybody else, and so do we unless told otherwise.


@pytest.mark.parametrize("is_translated", [False, True])
async def test_44_an_app_that_is_down(is_translated: bool) -> None:
    async with running_queue_proxy(1, KNUV_GRPC_ERRORS=str(is_translated)) as proxy:
        client = await Http2Client.open(proxy.host, proxy.port)
        proxy.clients.append(client)
        response = await client.fetch("/s/m", *GRPC, method="POST", body=bytes(5))
        if is_translated:
            assert (response.status, response.value("grpc-status")) == (200, "14")
            assert response.value("content-type") == "application/grpc"
            assert "connection refused" in response.value("grpc-message")
            assert (response.body, response.is_ended) == (b"", True)
        else:
            assert (response.status, response.values("grpc-status")) == (502, [])
        assert (await client.fetch()).status == 502


async def test_44_grpcio_says_unavailable_and_why() -> None:
    async with running_queue_proxy(1, KNUV_GRPC_ERRORS="true") as proxy, calling(proxy.host, proxy.port) as echo:
        code, text = await failure(echo.unary(b"", timeout=CALL_S))
        assert (code, text) == ("UNAVAILABLE", "dial tcp 127.0.0.1:1: connect: connection refused")


async def test_50_grpcio_says_unavailable_when_the_queue_is_full() -> None:
    variables = {"CONTAINER_CONCURRENCY": "1", "KNUV_GRPC_ERRORS": "true"}
    async with (
        grpc_app() as port,
        running_queue_proxy(port, **variables) as proxy,
        calling(proxy.host, proxy.port) as echo,
    ):
        running = echo.hold(b"", timeout=CALL_S)
        assert await running.read() == b"held"
        calls = [asyncio.ensure_future(echo.unary(b"", timeout=CALL_S).code()) for _ in range(11)]
        refused, waiting = await asyncio.wait(calls, timeout=CALL_S, return_when=asyncio.FIRST_COMPLETED)
        assert [call.result().name for call in refused] == ["UNAVAILABLE"]
        running.cancel()
        assert [(await call).name for call in waiting] == ["OK"] * 10


async def test_56_grpcio_says_deadline_exceeded_when_time_has_run_out() -> None:
    variables = {"REVISION_TIMEOUT_SECONDS": "1", "KNUV_GRPC_ERRORS": "true"}

    async def silent(call: Http2Call) -> None:
        await call.cancelled()

    async with (
        running_http2_app(silent) as app,
        running_queue_proxy(app.port, **variables) as proxy,
        calling(proxy.host, proxy.port) as echo,
    ):
        assert await failure(echo.unary(b"", timeout=CALL_S)) == ("DEADLINE_EXCEEDED", "request timeout")


async def test_errors_of_the_app_are_never_translated() -> None:
    async def fail(call: Http2Call) -> None:
        await call.respond(503, b"mine", ("content-type", "text/plain"))

    async with (
        running_http2_app(fail) as app,
        running_queue_proxy(app.port, KNUV_GRPC_ERRORS="true") as proxy,
    ):
        client = await Http2Client.open(proxy.host, proxy.port)
        proxy.clients.append(client)
        response = await client.fetch("/s/m", *GRPC, method="POST", body=bytes(5))
        assert (response.status, response.body) == (503, b"mine")


async def test_http_1_requests_are_never_answered_as_grpc() -> None:
    async with running_app() as app, running_queue_proxy(app.port, KNUV_GRPC_ERRORS="true") as proxy:
        response = await proxy.fetch("/", headers=("Content-Type: application/json",))
        assert response.status == 200
    async with running_queue_proxy(1, KNUV_GRPC_ERRORS="true") as proxy:
        assert (await proxy.fetch()).status == 502
