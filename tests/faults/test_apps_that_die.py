"""Apps that are killed, restarted, or close connections when it suits them."""

import asyncio
import random
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.support import reset
from tests.support.http import Call, Client, Response, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import ROOT, QueueProxy, running_queue_proxy

CLIENTS = 50
REQUESTS = 60
KILLS = 5
CONCURRENCY = 20


class KilledApps:
    """One process after the other behind a port that stays open."""

    def __init__(self, folder: Path, listening: socket.socket) -> None:
        self._folder = folder
        self._listening = listening
        self._process: asyncio.subprocess.Process | None = None
        self._logs: list[Path] = []

    async def start(self) -> None:
        self._logs.append(self._folder / f"app-{len(self._logs)}.log")
        fd = self._listening.fileno()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.restarting_app", str(fd), str(self._logs[-1])),
            cwd=ROOT,
            pass_fds=[fd],
        )

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def received(self) -> list[str]:
        """Targets of all requests that reached a process, as often as they did."""
        return [line.split(" ")[2] for log in self._logs for line in _lines(log) if line.startswith("request ")]

    def silent_connections(self) -> int:
        """Connections that a process accepted and read nothing from before it died."""
        accepted = {(log, line.split(" ")[1]) for log in self._logs for line in _lines(log)}
        used = {(log, line.split(" ")[1]) for log in self._logs for line in _lines(log) if line.startswith("request ")}
        return len(accepted - used)


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@asynccontextmanager
async def killed_apps(folder: Path) -> AsyncIterator[tuple[KilledApps, int]]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        listening.setblocking(False)
        apps = KilledApps(folder, listening)
        await apps.start()
        try:
            yield apps, listening.getsockname()[1]
        finally:
            await apps.kill()


async def test_app_restarts_under_load_only_requests_that_were_sent_to_it_may_fail_and_with_502(tmp_path: Path) -> None:
    answers: dict[str, Response] = {}

    async def load(client: Client, number: int) -> None:
        for turn in range(REQUESTS):
            target = f"/{number}-{turn}"
            await client.request(target, method="GET" if is_replayable(target) else "POST")
            answers[target] = await client.response()

    async with (
        killed_apps(tmp_path) as (apps, port),
        running_queue_proxy(port, CONTAINER_CONCURRENCY=str(CONCURRENCY)) as proxy,
    ):
        loads = [asyncio.create_task(load(await proxy.open(), number)) for number in range(CLIENTS)]
        for kill in range(KILLS):
            wanted = (kill + 1) * CLIENTS * REQUESTS // (KILLS + 1)
            await eventually(lambda wanted=wanted: len(answers) >= wanted, timeout_s=30)  # type: ignore[misc]
            await apps.kill()
            await apps.start()
        await asyncio.gather(*loads)

        received = apps.received()
        failed = {target: answer for target, answer in answers.items() if answer.status != 200}
        assert len(answers) == CLIENTS * REQUESTS
        assert all(answer.body == target.encode() for target, answer in answers.items() if answer.status == 200)
        assert {answer.status for answer in failed.values()} <= {502}
        assert failed, "every restart caught requests inside; if none failed this test tests nothing"
        # The port stays open, so nothing is refused: what failed was on a connection that a process had.
        assert {answer.body.split(b" ")[0] for answer in failed.values()} <= {b"read"}
        never_read = [target for target in failed if target not in received]
        assert sum(is_replayable(target) for target in never_read) <= apps.silent_connections()
        repeated = [target for target, times in Counter(received).items() if times > 1]
        assert all(map(is_replayable, repeated)), "a POST never runs twice"
        await assert_no_place_is_lost(proxy)


def is_replayable(target: str) -> bool:
    """Every third request is a POST."""
    return int(target.rpartition("-")[2]) % 3 != 0


async def assert_no_place_is_lost(proxy: QueueProxy) -> None:
    """As many requests as may run do run at once: each waits for all the others."""
    barrier = (proxy.fetch(f"/barrier/{CONCURRENCY}") for _ in range(CONCURRENCY))
    async with asyncio.timeout(10):
        assert {response.status for response in await asyncio.gather(*barrier)} == {200}


async def test_app_is_gone_502_at_once_and_the_first_request_after_its_return_succeeds() -> None:
    async with running_app() as app:
        port = app.port
    async with running_queue_proxy(port, CONTAINER_CONCURRENCY="1") as proxy:
        client = await proxy.open()
        for _ in range(3):
            for _ in range(20):
                await client.request()
                assert (await client.response()).status == 502
            async with running_app(port=port):
                await client.request()
                assert (await client.response()).body == b"hello"


@pytest.mark.parametrize("seed", range(3))
async def test_app_closes_kept_connections_at_random_and_no_replayable_request_fails(seed: int) -> None:
    chance = random.Random(seed)
    hung_up = 0
    kept: set[int] = set()

    async def answer(call: Call) -> None:
        nonlocal hung_up
        if call.connection in kept and chance.random() < 0.3:
            hung_up += 1
            if chance.random() < 0.5:
                reset(call.writer.get_extra_info("socket"))
            call.close()
            raise ConnectionResetError
        kept.add(call.connection)
        await call.respond(200, call.target.encode())
        if chance.random() < 0.2:
            if chance.random() < 0.5:
                reset(call.writer.get_extra_info("socket"))
            call.close()
            raise ConnectionResetError

    async def load(client: Client, number: int) -> None:
        for turn in range(30):
            method = ("GET", "HEAD", "OPTIONS")[turn % 3]
            await client.request(f"/{number}-{turn}", method=method)
            response = await client.response(method=method)
            assert response.status == 200, response.body
            assert response.body == (b"" if method == "HEAD" else b"/%d-%d" % (number, turn))

    async with running_app(answer) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="10") as proxy:
        await asyncio.gather(*[load(await proxy.open(), number) for number in range(30)])
        assert hung_up > 50, "this test tests nothing"
        assert len(app.calls) == 900 + hung_up
