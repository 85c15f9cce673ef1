"""`local_cluster/node/probes.py` against real servers."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kube.models.core import LifecycleHandler, Probe
from local_cluster.node.probes import ProbeFailed, ProbeTarget, run_hook, run_probe
from tests.support.processes import eventually, is_running


@asynccontextmanager
async def server(answer: bytes | Callable[[asyncio.StreamWriter], Any]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers every request head alike; (port, heads received)."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], heads
    finally:
        listener.close()


def target(folder: Path | None = None) -> ProbeTarget:
    return ProbeTarget(
        address=lambda host, port: (host or "127.0.0.1", int(port)),
        env={"PATH": os.defpath, "WORD": "hello"},
        cwd=str(folder or Path.cwd()),
        guardian=None,
    )


async def attempt(probe: dict[str, Any], folder: Path | None = None, timeout_s: float = 5.0) -> str:
    """The failure's text, empty for success."""
    try:
        await run_probe(msgspec.convert(probe, Probe), target(folder), timeout_s)
    except ProbeFailed as error:
        return str(error)
    return ""


@pytest.mark.parametrize("status", [200, 204, 302, 399])
async def test_http_success_is_200_to_399(status: int) -> None:
    async with server(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status) as (port, heads):
        assert await attempt({"httpGet": {"port": port, "path": "/healthz?full=1"}}) == ""
    assert heads[0].startswith(b"GET /healthz?full=1 HTTP/1.1\r\n")
    assert b"\r\nuser-agent: kube-probe/1.34\r\n" in heads[0]
    assert b"\r\nhost: 127.0.0.1:%d\r\n" % port in heads[0]


@pytest.mark.parametrize("status", [199 + 201, 404, 503])
async def test_other_statuses_fail_with_the_status(status: int) -> None:
    async with server(b"HTTP/1.1 %d X\r\n\r\n" % status) as (port, _):
        assert await attempt({"httpGet": {"port": port}}) == f"HTTP probe failed with statuscode: {status}"


async def test_headers_of_the_probe_replace_the_usual_ones() -> None:
    headers = [{"name": "Host", "value": "example.com"}, {"name": "K-Network-Probe", "value": "queue"}]
    async with server(b"HTTP/1.1 200 OK\r\n\r\n") as (port, heads):
        assert await attempt({"httpGet": {"port": port, "httpHeaders": headers}}) == ""
    assert b"\r\nhost: example.com\r\n" in heads[0]
    assert b"\r\nk-network-probe: queue\r\n" in heads[0]
    assert heads[0].lower().count(b"\r\nhost:") == 1


async def test_informational_answers_are_passed_over() -> None:
    async with server(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") as (port, _):
        assert await attempt({"httpGet": {"port": port}}) == ""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "EOF"),
        (b"SSH-2.0-x\r\n\r\n", "malformed HTTP response"),
        (b"x" * 100_000, "limit"),
        (b"HTTP/1.1 200", "EOF"),
    ],
)
async def test_anything_but_http_fails(answer: bytes, problem: str) -> None:
    async with server(answer) as (port, _):
        assert problem in await attempt({"httpGet": {"port": port}})


async def test_a_server_that_keeps_silent_is_a_timeout() -> None:
    async def never(_writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(600)

    async with server(never) as (port, _):
        text = await attempt({"httpGet": {"port": port}}, timeout_s=0.05)
    assert text.startswith("context deadline exceeded")


async def test_nobody_listening_is_a_refused_connection() -> None:
    async with server(b"") as (port, _):
        pass
    refused = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert refused in await attempt({"httpGet": {"port": port}})
    assert await attempt({"tcpSocket": {"port": port}}) == refused


async def test_tcp_success_is_an_accepted_connection() -> None:
    async with server(b"") as (port, _):
        assert await attempt({"tcpSocket": {"port": port}}) == ""


async def test_exec_runs_with_the_containers_environment_and_folder(tmp_path: Path) -> None:
    command = ["sh", "-c", 'echo "$WORD" > proof; exit 0']
    assert await attempt({"exec": {"command": command}}, tmp_path) == ""
    assert _read(tmp_path / "proof") == "hello\n"


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["sh", "-c", "echo not yet; exit 1"], "not yet"),
        (["sh", "-c", "exit 4"], "command ended with exit code 4"),
        (["no-such"], 'exec: "no-such": executable file not found in $PATH'),
        ([], "empty"),
    ],
)
async def test_exec_failures(command: list[str], problem: str) -> None:
    assert problem in await attempt({"exec": {"command": command}})


async def test_exec_that_outlasts_its_time_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "sleep 600 & echo $! > pid; wait"
    text = await attempt({"exec": {"command": ["sh", "-c", script]}}, tmp_path, timeout_s=0.3)
    assert text.startswith("context deadline exceeded")
    pid = int(_read(tmp_path / "pid"))
    await eventually(lambda: not is_running(pid))


async def test_a_hook_takes_any_http_answer_and_tells_of_none() -> None:
    async with server(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n") as (port, heads):
        hook = msgspec.convert({"httpGet": {"port": port, "path": "wait-for-drain"}}, LifecycleHandler)
        await run_hook(hook, target())
    assert heads[0].startswith(b"GET /wait-for-drain HTTP/1.1\r\n")
    with pytest.raises(ProbeFailed, match="connection refused"):
        await run_hook(hook, target())


async def test_hooks_may_be_commands_or_pauses(tmp_path: Path) -> None:
    await run_hook(msgspec.convert({"exec": {"command": ["touch", "done"]}}, LifecycleHandler), target(tmp_path))
    assert (tmp_path / "done").exists()
    await run_hook(msgspec.convert({"sleep": {"seconds": 0}}, LifecycleHandler), target())


def _read(path: Path) -> str:
    return path.read_text()
