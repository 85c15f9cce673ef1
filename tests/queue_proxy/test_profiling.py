"""`queue_proxy/profiling.py`: a profile in progress, and what leaves while it is taken."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxies.logs import Logger
from queue_proxy.profiling import ProfilingPort
from tests.support.http import Client, Response, fetch
from tests.support.processes import eventually

HOST = "127.0.0.1"


@asynccontextmanager
async def open_port() -> AsyncIterator[tuple[ProfilingPort, int]]:
    port = ProfilingPort(asyncio.get_running_loop(), Logger("test"))
    number = await port.start(HOST, 0)
    try:
        yield port, number
    finally:
        await port.stop()


def is_profiling() -> bool:
    return signal.getitimer(signal.ITIMER_PROF)[1] > 0


async def profile(port: int, seconds: int) -> Response:
    return await fetch(HOST, port, f"/debug/pprof/profile?seconds={seconds}")


async def test_the_end_does_not_wait_for_a_profile_and_still_gives_it() -> None:
    async with open_port() as (port, number):
        taking = asyncio.create_task(profile(number, 60))
        await eventually(is_profiling)
        started_s = time.monotonic()
        await port.stop()
        assert (await taking).status == 200
        assert time.monotonic() - started_s < 20
    assert not is_profiling()


async def test_whoever_leaves_does_not_end_the_profile_and_the_next_one_may_begin_after_it() -> None:
    async with open_port() as (_, number):
        client = await Client.open(HOST, number)
        await client.request("/debug/pprof/profile?seconds=1")
        await eventually(is_profiling)
        client.close()
        assert (await profile(number, 1)).status == 503
        await eventually(lambda: not is_profiling())
        assert (await profile(number, 1)).status == 200
