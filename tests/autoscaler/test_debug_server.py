"""`autoscaler.debug_server` as an asker sees it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from autoscaler.debug_server import DebugServer
from autoscaler.multiscaler import RevisionKey


def decisions(key: RevisionKey) -> dict[str, Any] | None:
    return {"name": key[1]} if key == ("default", "hello-00001") else None


@pytest.fixture
async def server() -> AsyncIterator[DebugServer]:
    server = DebugServer(lambda: {"revisions": []}, decisions)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


async def ask(server: DebugServer, request: bytes) -> tuple[int, dict[str, Any]]:
    """Status and content of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    content: dict[str, Any] = json.loads(body)
    return int(head.split()[1]), content


async def get(server: DebugServer, path: str, host: str = "127.0.0.1:9999") -> tuple[int, dict[str, Any]]:
    return await ask(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


async def test_its_two_pages(server: DebugServer) -> None:
    assert await get(server, "/debug/state") == (200, {"revisions": []})
    assert await get(server, "/debug/decisions/default/hello-00001") == (200, {"name": "hello-00001"})
    assert await get(server, "/debug/decisions/default/hello-00001?x=y") == (200, {"name": "hello-00001"})


@pytest.mark.parametrize("path", ["/", "/debug", "/debug/decisions/", "/debug/decisions/default", "/metrics"])
async def test_elsewhere_it_says_what_there_is(server: DebugServer, path: str) -> None:
    status, content = await get(server, path)
    assert status == 404
    assert content == {"error": "try GET /debug/state or GET /debug/decisions/NAMESPACE/REVISION"}


async def test_a_revision_that_is_not_decided_here(server: DebugServer) -> None:
    status, content = await get(server, "/debug/decisions/default/other-00001")
    assert status == 404
    assert content == {"error": "no revision default/other-00001 is decided here; another replica may own it"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.3.2.1", "[::1]:80"])
async def test_loopback_names_are_answered(server: DebugServer, host: str) -> None:
    assert (await get(server, "/debug/state", host))[0] == 200


@pytest.mark.parametrize("host", ["evil.example.com", "localhost.example.com", "10.0.0.1", "", "[2001:db8::1]"])
async def test_other_names_are_refused(server: DebugServer, host: str) -> None:
    status, content = await get(server, "/debug/state", host)
    assert (status, list(content)) == (403, ["error"])


async def test_it_only_reads(server: DebugServer) -> None:
    assert (await ask(server, b"POST /debug/state HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 405


async def test_what_is_no_http_gets_no_answer(server: DebugServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"x" * 20_000)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_successor_listens_while_its_predecessor_is_still_ending(server: DebugServer) -> None:
    successor = DebugServer(lambda: {"revisions": ["its own"]}, decisions)
    await successor.start("127.0.0.1", server.port)
    await server.stop()
    assert await get(successor, "/debug/state") == (200, {"revisions": ["its own"]})
    await successor.stop()
