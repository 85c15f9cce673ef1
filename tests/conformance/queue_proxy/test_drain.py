"""Statements 74 to 82: how the process becomes quiet and ends. Those that wait for the whole quiet period take 30 s."""

import asyncio
import signal
import time

import pytest

from tests.support.http import Call, running_app
from tests.support.queue_proxy import QueueProxy, running_queue_proxy


async def exit_code(proxy: QueueProxy, timeout_s: float) -> int:
    async with asyncio.timeout(timeout_s):
        return await proxy.process.wait()


async def test_74_and_82_sigterm_fails_probes_at_once_serves_on_and_a_second_one_ends_it() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        proxy.process.send_signal(signal.SIGTERM)
        while (response := await proxy.probe()).status == 200:
            continue
        assert (response.status, response.body) == (503, b"shutting down\n")
        assert (await proxy.probe("K-Network-Probe: probe", "K-Network-Hash: x")).status == 503
        assert (await proxy.fetch()).body == b"hello"
        proxy.process.send_signal(signal.SIGTERM)
        assert await exit_code(proxy, 2) == 1


async def test_75_77_79_and_81_the_quiet_period_ends_hooks_and_waits_for_what_runs() -> None:
    release = asyncio.Event()

    async def answer(call: Call) -> None:
        if call.values("upgrade"):
            await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            await call.send(await call.reader.read(10))
            await call.closed()
        else:
            await release.wait()
            await call.respond(200, b"finished")

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        tunnel, running = await proxy.open(), await proxy.open()
        await tunnel.request(headers=["Connection: Upgrade", "Upgrade: echo"])
        assert (await tunnel.head()).status == 101
        await running.request()
        await app.call(1)
        started_s = time.monotonic()
        hook = asyncio.create_task(proxy.admin("/wait-for-drain"))
        await asyncio.sleep(0.3)
        proxy.process.send_signal(signal.SIGINT)
        assert (await hook).status == 200
        assert 29.5 < time.monotonic() - started_s < 35
        await tunnel.send(b"still here")
        assert await tunnel.reader.readexactly(10) == b"still here"
        release.set()
        response = await running.response()
        assert (response.status, response.body, response.value("connection")) == (200, b"finished", "close")
        tunnel.close()
        assert await exit_code(proxy, 5) == 0


async def test_78_a_hook_without_sigterm_is_taken_back_after_a_second() -> None:
    async with running_queue_proxy() as proxy:
        started_s = time.monotonic()
        hook = asyncio.create_task(proxy.admin("/wait-for-drain"))
        while (await proxy.probe()).status == 200:
            assert not hook.done()
        assert (await proxy.probe()).body == b"shutting down\n"
        response = await hook
        assert (response.status, response.body) == (200, b"")
        assert 0.9 < time.monotonic() - started_s < 1.5
        assert (await proxy.probe()).status == 200


async def test_80_the_admin_port_has_nothing_else() -> None:
    async with running_queue_proxy() as proxy:
        response = await proxy.admin("/other")
        assert (response.status, response.body) == (404, b"404 page not found\n")


@pytest.mark.timeout(90)
async def test_76_a_request_prolongs_the_drain_and_a_probe_does_not() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        started_s = time.monotonic()
        proxy.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(10)
        assert (await proxy.fetch()).status == 200
        await asyncio.sleep(5)
        assert (await proxy.probe()).status == 503
        assert await exit_code(proxy, 60) == 0
        assert 39.5 < time.monotonic() - started_s < 44
