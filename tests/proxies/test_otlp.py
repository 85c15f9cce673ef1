"""`proxies/otlp.py` against a collector on a real socket."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxies import otlp
from proxies.environment import Environment
from proxies.logs import Logger
from proxies.otlp import Endpoint, Pusher, endpoint_of
from tests.support.certificates import Authority
from tests.support.http import App, Call, running_app
from tests.support.otlp import ExportMetricsServiceResponse
from tests.support.processes import eventually

Handler = Callable[[Call], Awaitable[None]]


async def accept(call: Call) -> None:
    await call.body()
    await call.respond(200)


class Pushing:
    """A pusher, the bodies that its collector took, and what it logged."""

    def __init__(self, endpoint: Endpoint, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        logger = Logger("test", write=lambda line: self.events.append(json.loads(line)))
        self.pusher = Pusher(asyncio.get_running_loop(), endpoint, logger, **options)

    @property
    def told(self) -> list[str]:
        return [event["message"] for event in self.events]


def endpoint(port: int, **changes: Any) -> Endpoint:
    return replace(Endpoint(host="127.0.0.1", port=port, path="/v1/metrics", is_tls=False), **changes)


@asynccontextmanager
async def collector(answer: Handler = accept) -> AsyncIterator[tuple[App, list[bytes]]]:
    """A collector and the bodies that it read."""
    bodies: list[bytes] = []

    async def handler(call: Call) -> None:
        body, _ = await call.body()
        bodies.append(body)
        call.body = lambda: asyncio.sleep(0, (body, []))  # type: ignore[method-assign, assignment, return-value]
        await answer(call)

    async with running_app(handler) as app:
        yield app, bodies


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries that do not make a test wait."""
    monkeypatch.setattr(otlp, "_RETRY_FIRST_S", 0.01)


async def test_bodies_arrive_in_order_over_one_connection_as_the_protocol_wants_them() -> None:
    async with collector() as (app, bodies):
        pushing = Pushing(endpoint(app.port, headers={"x-api-key": "secret"}))
        for number in range(5):
            pushing.pusher.push(b"body %d" % number)
        await eventually(lambda: len(bodies) == 5)
        await pushing.pusher.close()
    assert bodies == [b"body %d" % number for number in range(5)]
    assert app.connections == 1
    call = app.calls[0]
    assert (call.method, call.target) == ("POST", "/v1/metrics")
    assert call.values("host") == [f"127.0.0.1:{app.port}"]
    assert call.values("content-type") == ["application/x-protobuf"]
    assert call.values("x-api-key") == ["secret"]
    assert pushing.told == []


async def test_an_empty_queue_holds_no_connection() -> None:
    async with collector() as (app, bodies):
        pushing = Pushing(endpoint(app.port))
        pushing.pusher.push(b"x")
        call = await app.call(0)
        await call.closed()
        pushing.pusher.push(b"y")
        await eventually(lambda: bodies == [b"x", b"y"])
        await pushing.pusher.close()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_body_that_may_be_sent_again_is(status: int) -> None:
    async def answer(call: Call) -> None:
        await call.respond(status if len(bodies) < 3 else 200)

    async with collector(answer) as (app, bodies):
        pushing = Pushing(endpoint(app.port))
        pushing.pusher.push(b"x")
        await eventually(lambda: "otlp_export_restored" in pushing.told)
        await pushing.pusher.close()
    assert bodies == [b"x"] * 3
    assert pushing.told == ["otlp_export_failed", "otlp_export_restored"]
    assert pushing.events[0]["reason"] == f"status {status}"
    assert pushing.events[0]["endpoint"] == f"http://127.0.0.1:{app.port}/v1/metrics"
    assert pushing.pusher.dropped == 0


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_a_body_that_is_refused_for_good_is_dropped_and_told_once(status: int) -> None:
    async def answer(call: Call) -> None:
        await call.respond(status)

    async with collector(answer) as (app, bodies):
        pushing = Pushing(endpoint(app.port))
        pushing.pusher.push(b"x")
        pushing.pusher.push(b"y")
        await eventually(lambda: pushing.pusher.dropped == 2)
        await pushing.pusher.close()
    assert bodies == [b"x", b"y"]
    assert pushing.told == ["otlp_export_failed"]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_data_that_a_collector_refuses_in_part_is_told(is_chunked: bool) -> None:
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = 3
    response.partial_success.error_message = "too old"

    async def answer(call: Call) -> None:
        if not is_chunked:
            await call.respond(200, response.SerializeToString())
            return
        await call.start_chunked()
        await call.chunk(response.SerializeToString())
        await call.chunk(b"")

    async with collector(answer) as (app, _):
        pushing = Pushing(endpoint(app.port))
        pushing.pusher.push(b"x")
        await eventually(lambda: pushing.told)
        await pushing.pusher.close()
    assert pushing.events[0]["reason"] == "part of the data was refused: too old"


@pytest.mark.parametrize("content", [b"", b"\x0a\x00", b"{}", b"not protobuf"])
async def test_any_other_answer_with_200_is_a_success(content: bytes) -> None:
    async def answer(call: Call) -> None:
        await call.start_chunked()
        await call.chunk(content) if content else None
        await call.chunk(b"")

    async with collector(answer) as (app, bodies):
        pushing = Pushing(endpoint(app.port))
        pushing.pusher.push(b"x")
        pushing.pusher.push(b"y")
        await eventually(lambda: len(bodies) == 2)
        await pushing.pusher.close()
    assert pushing.told == []


async def test_a_collector_that_is_away_is_told_once_and_nothing_grows() -> None:
    pushing = Pushing(endpoint(1), bodies_max=3)
    for number in range(10):
        pushing.pusher.push(b"%d" % number)
        await eventually(lambda: pushing.told)
    async with asyncio.timeout(2):
        await pushing.pusher.close()
    assert pushing.told == ["otlp_export_failed", "otlp_export_given_up"]
    assert pushing.events[0]["reason"] == "Connection refused"
    assert pushing.pusher.dropped == 10


async def test_the_newest_bodies_are_kept() -> None:
    may_answer = asyncio.Event()

    async def answer(call: Call) -> None:
        await may_answer.wait()
        await call.respond(200)

    async with collector(answer) as (app, bodies):
        pushing = Pushing(endpoint(app.port), bodies_max=2)
        pushing.pusher.push(b"0")
        await eventually(lambda: bodies == [b"0"])
        for number in range(1, 6):
            pushing.pusher.push(b"%d" % number)
        may_answer.set()
        await eventually(lambda: len(bodies) == 3)
        await pushing.pusher.close()
    assert bodies == [b"0", b"4", b"5"]


async def test_a_collector_that_does_not_answer_is_given_up_in_time() -> None:
    async with collector(lambda call: call.closed()) as (app, _):
        pushing = Pushing(endpoint(app.port, timeout_s=0.05))
        pushing.pusher.push(b"x")
        await eventually(lambda: pushing.told)
        await pushing.pusher.close()
    assert pushing.events[0]["reason"] == "no response within 0.05 s"


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
async def test_a_collector_that_talks_nonsense_is_told(answer: bytes) -> None:
    async def talk(call: Call) -> None:
        await call.send(answer)
        call.close()

    async with collector(talk) as (app, _):
        pushing = Pushing(endpoint(app.port))
        pushing.pusher.push(b"x")
        await eventually(lambda: pushing.told)
        await pushing.pusher.close()
    assert pushing.events[0]["reason"].startswith("expected an HTTP response")


async def test_closing_delivers_what_waits() -> None:
    async with collector() as (app, bodies):
        pushing = Pushing(endpoint(app.port))
        pushing.pusher.push(b"x")
        pushing.pusher.push(b"y")
        await pushing.pusher.close()
        assert bodies == [b"x", b"y"]
        pushing.pusher.push(b"z")
        assert pushing.told == []


async def test_closing_does_not_wait_for_ever() -> None:
    async with collector(lambda call: call.closed()) as (app, bodies):
        pushing = Pushing(endpoint(app.port))
        pushing.pusher.push(b"x")
        pushing.pusher.push(b"y")
        await eventually(lambda: bodies)
        async with asyncio.timeout(5):
            await pushing.pusher.close(timeout_s=0.05)
    assert pushing.pusher.dropped == 2


async def test_closing_ends_a_pause_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "_RETRY_FIRST_S", 60.0)

    async def answer(call: Call) -> None:
        await call.respond(503 if len(bodies) < 2 else 200)

    async with collector(answer) as (app, bodies):
        pushing = Pushing(endpoint(app.port))
        pushing.pusher.push(b"x")
        await eventually(lambda: pushing.told)
        async with asyncio.timeout(5):
            await pushing.pusher.close()
    assert bodies == [b"x", b"x"]


async def test_https_verifies_the_collector(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trusting = Pushing(endpoint(port, is_tls=True, ca_file=str(authority.ca_file)))
    doubting = Pushing(endpoint(port, is_tls=True))
    trusting.pusher.push(b"x")
    doubting.pusher.push(b"x")
    await trusting.pusher.close()
    await eventually(lambda: doubting.told)
    await doubting.pusher.close()
    server.close()
    assert [head.split(b"\r\n")[0] for head in heads] == [b"POST /v1/metrics HTTP/1.1"]
    assert trusting.told == []
    assert "certificate verify failed" in doubting.events[0]["reason"].lower()


CONFIGURED = "http://configured:4318/custom"


@pytest.mark.parametrize(
    ("env", "configured", "want"),
    [
        ({}, CONFIGURED, CONFIGURED),
        ({}, "http://collector:4318", "http://collector:4318/v1/metrics"),
        ({}, "http://collector:4318/", "http://collector:4318/"),
        ({}, "collector:4317", "https://collector:4317/v1/metrics"),
        ({}, "https://collector", "https://collector:443/v1/metrics"),
        ({}, "http://[::1]:4318", "http://[::1]:4318/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://base:1"}, CONFIGURED, "http://base:1/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://base:1/otlp/"}, CONFIGURED, "http://base:1/otlp/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://own:1/x"}, CONFIGURED, "http://own:1/x"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://own:1"}, CONFIGURED, "http://own:1/"),
        (
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://own:1", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://base:1"},
            "",
            "http://own:1/",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t"}, CONFIGURED, CONFIGURED),
    ],
)
def test_where_metrics_go(env: dict[str, str], configured: str, want: str) -> None:
    environment = Environment(env)
    found = endpoint_of(environment, "metrics", configured, endpoint_from="SETTINGS")
    assert environment.problems == []
    assert found is not None
    assert found.url == want


def test_headers_time_and_authorities_come_from_the_environment_the_signals_own_first() -> None:
    found = endpoint_of(
        Environment(
            {
                "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=s%20e%3Dcret , b=2",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "1500",
                "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
            }
        ),
        "traces",
        CONFIGURED,
        endpoint_from="SETTINGS",
    )
    assert found is not None
    assert dict(found.headers) == {"api-key": "s e=cret", "b": "2"}
    assert (found.timeout_s, found.ca_file) == (1.5, "/ca.pem")


@pytest.mark.parametrize(
    ("env", "configured", "named"),
    [
        ({}, "", "SETTINGS"),
        ({}, "ftp://x", "SETTINGS"),
        ({}, "http://x:99999", "SETTINGS"),
        ({}, "http://x/?a=b", "SETTINGS"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"}, CONFIGURED, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "x y"}, CONFIGURED, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "secret"}, CONFIGURED, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=secret%0d%0ax:1"}, CONFIGURED, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "5s"}, CONFIGURED, "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"),
    ],
)
def test_what_is_wrong_is_named_and_secrets_are_not(env: dict[str, str], configured: str, named: str) -> None:
    environment = Environment(env)
    assert endpoint_of(environment, "metrics", configured, endpoint_from="SETTINGS") is None
    (problem,) = environment.problems
    assert problem.startswith(f"{named}: ")
    assert "secret" not in problem or env.get("OTEL_EXPORTER_OTLP_HEADERS") == "secret"
