"""What `knuv events trace` makes of the stack's answers, and the doors to pods with networks of their own."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner

from local_cluster.cli import Failure
from local_cluster.cli_events import events
from local_cluster.event_debugging import ask
from local_cluster.event_doors import Doors, door

# Longer than the path of a Unix socket may be.
LONG = "a" * 120


@asynccontextmanager
async def asked(folder: Path, status: int, text: str) -> AsyncIterator[int]:
    """A process of the stack that answers so, and the file that says where; its port."""

    async def handle(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer t"
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port: int = runner.addresses[0][1]
        say(folder, f"127.0.0.1:{port}")
        yield port
    finally:
        await runner.cleanup()


def say(folder: Path, address: str) -> None:
    told = {"token": "t", "components": {"filter": address}}
    (folder / "eventing-debug.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, "<html>hello"), "not as expected (a JSON object with 'events'): '<html>hello'"),
        ((200, "[1]"), "not as expected (a JSON object with 'events'): '[1]'"),
        ((200, "["), "not as expected"),
        ((200, "{}"), "not as expected (a JSON object with 'events'): '{}'"),
        ((404, "try this"), "the filter of this stack cannot tell: try this"),
        ((503, "no NATS"), "the filter answers 503: no NATS"),
    ],
)
async def test_what_is_no_answer_is_told_in_a_line(tmp_path: Path, answer: tuple[int, str], told: str) -> None:
    async with asked(tmp_path, *answer):
        with pytest.raises(Failure) as raised:
            await ask(tmp_path, "filter", "GET", "/debug/events", {}, "events")
    assert told in str(raised.value)


def test_a_trace_that_nobody_can_tell_is_no_event_that_did_not_pass(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        say(tmp_path, f"127.0.0.1:{unused.getsockname()[1]}")
        done = CliRunner().invoke(events, ["trace", "x", "--state-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr.startswith("knuv: the filter does not answer")
    assert done.stderr.endswith("is the stack up (`knuv up`)?\n")
    assert done.stderr.count("\n") == 1


async def test_who_cannot_be_asked_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="does not say whom to ask"):
        await ask(tmp_path, "filter", "GET", "/", {}, "events")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        say(tmp_path, f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(Failure, match="does not answer at"):
            await ask(tmp_path, "filter", "GET", "/", {}, "events")
    with pytest.raises(Failure, match="the jetstream of this stack cannot be asked"):
        await ask(tmp_path, "jetstream", "GET", "/", {}, "events")
    say(tmp_path, "unix:" + door("filter"))
    with pytest.raises(Failure, match="does not answer at unix:"):
        await ask(tmp_path, "filter", "GET", "/", {}, "events")


async def test_a_door_leads_to_the_component_and_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / LONG
    folder.mkdir()
    dialled: list[str] = []
    async with asked(folder, 200, '{"events": []}') as port:

        async def dial(component: str) -> socket.socket:
            dialled.append(component)
            connection = socket.socket()
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
            return connection

        doors = Doors(folder, dial)
        await doors.open("filter")
        try:
            say(folder, "unix:" + door("filter"))
            assert (folder / door("filter")).stat().st_mode & 0o777 == 0o600
            for _ in range(2):
                assert await ask(folder, "filter", "GET", "/debug/events", {"id": "1"}, "events") == []
        finally:
            await doors.stop()
    assert dialled == ["filter", "filter"]
    assert not (folder / door("filter")).exists()


async def test_a_door_to_nobody_ends_the_connection(tmp_path: Path) -> None:
    async def dial(component: str) -> socket.socket:
        raise OSError("no pod runs")

    doors = Doors(tmp_path, dial)
    (tmp_path / door("filter")).touch()  # of a stack that was killed
    await doors.open("filter")
    say(tmp_path, "unix:" + door("filter"))
    try:
        with pytest.raises(Failure, match="does not answer at unix:"):
            await ask(tmp_path, "filter", "GET", "/", {}, "events")
    finally:
        await doors.stop()


async def test_doors_that_are_shut_end_who_still_waits_for_a_pod(tmp_path: Path) -> None:
    is_dialled = asyncio.Event()

    async def dial(component: str) -> socket.socket:
        is_dialled.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    doors = Doors(tmp_path, dial)
    try:
        await doors.open("filter")
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / door("filter")))
        await is_dialled.wait()
    finally:
        await doors.stop()
    try:
        async with asyncio.timeout(20):
            assert await reader.read() == b""
    finally:
        writer.close()
