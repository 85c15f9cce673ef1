"""Which ports one queue-proxy opens, and a user container behind a unix socket."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support import http2
from tests.support.processes import eventually
from tests.support.queue_proxy import environment, exit_of, running_queue_proxy

PROBE = json.dumps({"httpGet": {"host": "127.0.0.1", "port": 8080, "path": "/ready"}})


@pytest.mark.parametrize("port", ["8012", "8013"])
async def test_both_main_ports_serve_whichever_is_configured(port: str) -> None:
    async with running_queue_proxy(QUEUE_SERVING_PORT=port) as proxy:
        assert proxy.accepts(8012)
        assert proxy.accepts(8013)


async def test_with_single_port_only_the_configured_one_is_open() -> None:
    async with running_queue_proxy(QUEUE_SERVING_PORT="8013", KNUV_SINGLE_PORT="1") as proxy:
        assert proxy.accepts(8013)
        assert not proxy.accepts(8012)


async def test_a_taken_sibling_port_is_told_and_done_without() -> None:
    host = "127.77.1.9"
    with socket.create_server((host, 8013)):
        async with running_queue_proxy(KNUV_BIND_ADDRESS=host) as proxy:
            proxy.host = host
            assert (await proxy.probe()).status == 200
            (taken,) = await eventually(lambda: [e for e in proxy.events if e["message"] == "sibling_port_taken"])
            assert taken["port"] == 8013


async def test_a_user_container_behind_a_unix_socket_is_probed_and_served(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    app = await asyncio.start_unix_server(answer, path)
    async with (
        app,
        running_queue_proxy(8080, KNUV_USER_SOCKET=str(path), SERVING_READINESS_PROBE=PROBE) as proxy,
    ):
        assert (await proxy.probe()).body == b"queue"
        assert (await proxy.fetch("/work")).body == b"hello"
    assert [head.split(b" ")[1] for head in seen] == [b"/ready", b"/work"]


async def test_a_user_socket_that_is_missing_gives_502_with_its_path(tmp_path: Path) -> None:
    async with running_queue_proxy(KNUV_USER_SOCKET=str(tmp_path / "none.sock")) as proxy:
        response = await proxy.fetch()
        assert response.status == 502
        assert b"none.sock" in response.body


@pytest.mark.parametrize("path", ["app.sock", "/" + "x" * 107])
async def test_a_path_that_is_no_socket_path_is_refused_by_name(path: str) -> None:
    code, text = await exit_of(environment(KNUV_USER_SOCKET=path))
    assert code == 1
    assert "KNUV_USER_SOCKET" in text


async def test_timeouts_are_logged_by_timer_once_a_second_however_many() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
        async with running_queue_proxy(silent.getsockname()[1], REVISION_RESPONSE_START_TIMEOUT_SECONDS="1") as proxy:
            responses = await asyncio.gather(*(proxy.fetch() for _ in range(30)))
            assert {(each.status, each.value("x-knuv-timeout")) for each in responses} == {(504, "response-start")}
            await eventually(lambda: sum(each["count"] for each in told(proxy.events)) == 30)
            assert len(told(proxy.events)) <= 3
            assert {each["timer"] for each in told(proxy.events)} == {"response-start"}


def told(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["message"] == "request_timed_out"]


async def test_an_app_whose_version_is_known_is_asked_in_it() -> None:
    async with http2.running_app() as app, running_queue_proxy(app.port, KNUV_USER_PROTOCOL="h2c") as proxy:
        asking = asyncio.ensure_future(proxy.fetch("/path"))
        peer = await app.accepted()
        fields, _, stream_id = await peer.fields()
        assert fields[":path"] == "/path"
        peer.head(stream_id, (":status", "200"), done=True)
        assert (await asking).status == 200
    code, text = await exit_of(environment(KNUV_USER_PROTOCOL="http3"))
    assert code == 1
    assert "KNUV_USER_PROTOCOL" in text
    assert "http1, h2c" in text
