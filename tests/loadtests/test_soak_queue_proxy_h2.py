"""The soak of queue-proxy on gRPC: its app, when a failure is excused, and that every caller comes through."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from time import perf_counter

import grpc.aio
import pytest

from loadtests.lab.soak_queue_proxy.tally import Tally, Visit
from loadtests.lab.soak_queue_proxy_h2 import callers
from loadtests.lab.soak_queue_proxy_h2.app import scattered
from loadtests.lab.soak_queue_proxy_h2.restarts import RestartedApp
from tests.support.processes import eventually


@pytest.fixture
async def app() -> AsyncIterator[RestartedApp]:
    app = RestartedApp()
    async with app.running():
        yield app


async def test_the_app_answers_cancels_and_counts_who_is_inside(app: RestartedApp) -> None:
    async with callers.connected("127.0.0.1", app.port) as line:
        assert await line.unary(b"hello") == b"hello"
        assert [message async for message in line.scatter(b"7 10 3")] == [scattered(7, 10, n) for n in range(3)]
        assert await line.fail(b"5").code() == grpc.StatusCode.NOT_FOUND
        call = line.hold(b"held")
        assert await call.read() == b"held"
        assert await line.busy(b"") == b"1"
        call.cancel()

        async def is_empty() -> bool:
            return bool(await line.busy(b"") == b"0")

        await eventually(is_empty)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
async def test_a_failure_is_excused_only_by_a_restart_in_its_time(app: RestartedApp, by: signal.Signals) -> None:
    port = app.port
    before_s = perf_counter()
    assert not app.was_away(before_s)
    restarting = asyncio.ensure_future(app.restart(by))
    await asyncio.sleep(0)
    during_s = perf_counter()
    assert app.was_away(during_s)
    await restarting
    assert app.port == port
    assert app.was_away(before_s)
    assert app.was_away(during_s)
    assert not app.was_away(perf_counter())


async def call_once(app: RestartedApp, error: Exception) -> Tally:
    """The tally of one visit that fails so."""
    tally = Tally()
    world = callers.World([], app, tally, callers.random.Random(1))

    async def visit(world: callers.World) -> Visit:
        world.is_over = True
        raise error

    await callers.call_until(world, callers.Kind("tester", visit, 1, 0.0))
    return tally


def unavailable() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")


async def test_failures_and_wrong_answers_are_told_apart() -> None:
    app = RestartedApp()
    tally = await call_once(app, unavailable())
    assert tally.drops == ["tester: UNAVAILABLE: gone"]
    app.away.append((0.0, float("inf")))
    tally = await call_once(app, unavailable())
    assert (tally.requests["restarted"], tally.drops) == (1, [])
    tally = await call_once(app, callers.Drop("WRONG message"))
    assert tally.drops == ["tester: WRONG message"]


def test_every_kind_of_caller_comes_through() -> None:
    command = [sys.executable, "-m", "loadtests.lab", "soak-queue-proxy-h2", "--duration", "2", "--seed", "1", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert result["wrong"] == []
    assert set(result["visits"]) == {kind.name for kind in callers.KINDS}
    assert result["calls"]["left"] > 0
    assert result["calls"]["timed_out"] > 0
    assert set(result["left"].values()) == {0}
    assert "no wrong answer: 0 of " in done.stderr
