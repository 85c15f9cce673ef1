"""Statements 74 to 82: how the process becomes quiet and ends.

The quiet period is 30 s and cannot be shortened from outside. So the scenes that wait for it are played side by side,
each with a process of its own; together they take as long as the longest, a tunnel that nobody closes: 30 s and 60 s.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.conformance.queue_proxy.tunnels import echo_tunnel, open_tunnel
from tests.support.h2_peers import Http2Call, running_http2_app
from tests.support.http import Call, running_app
from tests.support.http2 import Peer
from tests.support.processes import LATE_S, eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(200)]

_WAIT_S = 120.0


class Ended(NamedTuple):
    """What became of a process that was told to end."""

    exit_code: int
    after_s: float
    """Seconds since it was told."""
    seen: tuple[object, ...] = ()
    """What the scene looked at meanwhile."""


class Ending:
    """A process that is being told to end, and the clock of its scene."""

    def __init__(self, proxy: QueueProxy, *, by: signal.Signals = signal.SIGTERM) -> None:
        self._proxy = proxy
        self._told_s = time.monotonic()
        proxy.process.send_signal(by)

    @property
    def now_s(self) -> float:
        """Seconds since it was told."""
        return time.monotonic() - self._told_s

    async def until(self, second: float) -> None:
        """Wait for a second of the scene."""
        await asyncio.sleep(second - self.now_s)

    async def drained(self) -> None:
        """Wait for the end of the drain."""
        await eventually(lambda: any(e["message"] == "drained" for e in self._proxy.events), timeout_s=_WAIT_S)

    async def ended(self, *seen: object) -> Ended:
        """Wait for the end of the process."""
        async with asyncio.timeout(_WAIT_S):
            code = await self._proxy.process.wait()
        return Ended(code, self.now_s, seen)


async def nobody_comes() -> Ended:
    async with running_queue_proxy() as proxy:
        return await Ending(proxy).ended()


async def nobody_comes_behind_an_interrupt() -> Ended:
    async with running_queue_proxy() as proxy:
        return await Ending(proxy, by=signal.SIGINT).ended()


async def a_request_comes_after_20_s() -> Ended:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        ending = Ending(proxy)
        await ending.until(20)
        response = await proxy.fetch()
        return await ending.ended(response.status, response.body)


async def a_probe_comes_after_20_s() -> Ended:
    async with running_queue_proxy() as proxy:
        ending = Ending(proxy)
        await ending.until(20)
        response = await proxy.probe()
        return await ending.ended(response.status, response.body)


async def a_request_is_still_running() -> Ended:
    release = asyncio.Event()

    async def answer(call: Call) -> None:
        await release.wait()
        await call.respond(201, b"finished")

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.request()
        await app.call()
        ending = Ending(proxy)
        await ending.drained()
        drained_s = ending.now_s
        await asyncio.sleep(1)
        release.set()
        response = await client.response()
        return await ending.ended(drained_s, response.status, response.body, response.values("connection"))


async def streams_are_still_running() -> Ended:
    release = asyncio.Event()

    async def answer(call: Http2Call) -> None:
        if call.target == "/running":
            await release.wait()
        await call.respond(201, b"finished")

    async with running_http2_app(answer) as app, running_queue_proxy(app.port) as proxy:
        idle, busy = [await Peer.connect(proxy.host, proxy.port) for _ in range(2)]
        proxy.clients += [idle, busy]
        idle.request(1)
        await idle.response(1)
        busy.request(1, path="/running")
        await app.call(1)
        ending = Ending(proxy)
        await ending.until(1)
        # Draining does not stop traffic.
        idle.request(3)
        during, _ = await idle.response(3)
        await ending.drained()
        codes = {(await peer.next("GoAway")).error_code for peer in (idle, busy)}
        await idle.closed()
        was_open = not busy.is_closed
        release.set()
        response = await busy.response(1)
        await busy.closed()
        return await ending.ended(during, codes, was_open, response)


async def a_hook_waits() -> Ended:
    async with running_queue_proxy() as proxy:
        hook = asyncio.create_task(proxy.admin("/wait-for-drain"))
        # It has begun as soon as probes are told.
        while (await proxy.probe()).status == 200:
            continue
        ending = Ending(proxy)
        response = await hook
        return await ending.ended(ending.now_s, response.status, response.body)


async def a_tunnel_stays() -> Ended:
    async with running_app(echo_tunnel) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="600") as proxy:
        tunnel = await open_tunnel(proxy)
        ending = Ending(proxy)
        await ending.drained()
        drained_s = ending.now_s
        await tunnel.send(b"still here")
        echo = await tunnel.reader.readexactly(10)
        behind = await asyncio.wait_for(tunnel.reader.read(), _WAIT_S)
        return await ending.ended(drained_s, echo, behind)


async def a_tunnel_is_closed_behind_the_drain() -> Ended:
    async with running_app(echo_tunnel) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="600") as proxy:
        tunnel = await open_tunnel(proxy)
        ending = Ending(proxy)
        await ending.drained()
        await asyncio.sleep(1)
        tunnel.close()
        return await ending.ended()


SCENES: tuple[Callable[[], Awaitable[Ended]], ...] = (
    nobody_comes,
    nobody_comes_behind_an_interrupt,
    a_request_comes_after_20_s,
    a_probe_comes_after_20_s,
    a_request_is_still_running,
    streams_are_still_running,
    a_hook_waits,
    a_tunnel_stays,
    a_tunnel_is_closed_behind_the_drain,
)
Scenes = dict[Callable[[], Awaitable[Ended]], "asyncio.Task[Ended]"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scenes() -> AsyncIterator[Scenes]:
    """All scenes, under way since the first test that asks for one."""
    async with AsyncExitStack() as stack:
        tasks = {scene: asyncio.ensure_future(scene()) for scene in SCENES}
        for task in tasks.values():
            stack.push_async_callback(asyncio.wait, [task])
            stack.callback(task.cancel)
        yield tasks


# What needs no quiet period comes first; the scenes are under way meanwhile.


async def test_74_sigterm_fails_probes_at_once_and_serves_on(scenes: Scenes) -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        ending = Ending(proxy)
        while (response := await proxy.probe()).status == 200:
            continue
        assert ending.now_s < LATE_S
        assert (response.status, response.body) == (503, b"shutting down\n")
        assert (await proxy.probe("K-Network-Probe: probe", "K-Network-Hash: x")).body == b"shutting down\n"
        response = await proxy.fetch()
        assert (response.status, response.body) == (200, b"hello")


async def test_78_a_hook_without_sigterm_is_taken_back_after_a_second() -> None:
    async with running_queue_proxy() as proxy:
        began_s = time.monotonic()
        hook = asyncio.create_task(proxy.admin("/wait-for-drain"))
        while (await proxy.probe()).status == 200:
            assert not hook.done()
        assert (await proxy.probe()).body == b"shutting down\n"
        response = await hook
        assert (response.status, response.body) == (200, b"")
        assert 0.9 < time.monotonic() - began_s < 1 + LATE_S
        assert (await proxy.probe()).status == 200


async def test_80_the_admin_port_has_nothing_else() -> None:
    async with running_queue_proxy() as proxy:
        response = await proxy.admin("/other")
        assert (response.status, response.body) == (404, b"404 page not found\n")


async def test_82_a_second_sigterm_ends_it_at_once() -> None:
    async with running_queue_proxy() as proxy:
        Ending(proxy)
        while (await proxy.probe()).status == 200:
            continue
        ended = await Ending(proxy).ended()
        assert ended.exit_code == 1
        assert ended.after_s < LATE_S


async def test_75_with_no_traffic_it_ends_after_the_quiet_period(scenes: Scenes) -> None:
    for scene in (nobody_comes, nobody_comes_behind_an_interrupt):
        ended = await scenes[scene]
        assert ended.exit_code == 0
        assert 29.9 < ended.after_s < 30 + 2 * LATE_S


async def test_76_a_request_prolongs_the_drain(scenes: Scenes) -> None:
    ended = await scenes[a_request_comes_after_20_s]
    assert (ended.exit_code, *ended.seen) == (0, 200, b"hello")
    assert 49.9 < ended.after_s < 50 + 2 * LATE_S


async def test_76_a_probe_does_not(scenes: Scenes) -> None:
    ended = await scenes[a_probe_comes_after_20_s]
    assert (ended.exit_code, *ended.seen) == (0, 503, b"shutting down\n")
    assert 29.9 < ended.after_s < 30 + 2 * LATE_S


async def test_77_a_request_that_runs_when_the_drain_ends_may_finish(scenes: Scenes) -> None:
    ended = await scenes[a_request_is_still_running]
    drained_s, *response = ended.seen
    assert isinstance(drained_s, float)
    assert (ended.exit_code, *response) == (0, 201, b"finished", ["close"])
    assert 29.9 < drained_s < 30 + 2 * LATE_S
    assert 1 <= ended.after_s - drained_s < 1 + LATE_S


async def test_77_connections_of_http_2_are_told_to_go_away_and_their_streams_may_finish(scenes: Scenes) -> None:
    ended = await scenes[streams_are_still_running]
    assert (ended.exit_code, *ended.seen) == (0, 201, {0}, True, (201, b"finished"))
    assert 30.9 < ended.after_s < 31 + 2 * LATE_S


async def test_79_a_hook_behind_which_sigterm_comes_waits_for_the_whole_quiet_period(scenes: Scenes) -> None:
    ended = await scenes[a_hook_waits]
    answered_s, *response = ended.seen
    assert isinstance(answered_s, float)
    assert (ended.exit_code, *response) == (0, 200, b"")
    assert 30 - LATE_S < answered_s < 30 + 2 * LATE_S  # since it began, a little before the signal


async def test_81_an_open_tunnel_survives_the_drain_and_is_waited_for_60_s_at_most(scenes: Scenes) -> None:
    ended = await scenes[a_tunnel_stays]
    drained_s, echo, behind = ended.seen
    assert isinstance(drained_s, float)
    assert (ended.exit_code, echo, behind) == (0, b"still here", b"")
    assert 60 - LATE_S < ended.after_s - drained_s < 60 + 2 * LATE_S  # the drain's end is seen somewhat late


async def test_81_and_no_longer_than_it_is_open(scenes: Scenes) -> None:
    ended = await scenes[a_tunnel_is_closed_behind_the_drain]
    assert ended.exit_code == 0
    assert 30.9 < ended.after_s < 31 + 2 * LATE_S
