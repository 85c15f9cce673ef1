"""Statements 64 to 73: the load figures that the autoscaler scrapes."""

import asyncio
import time

import pytest

from proxies.wire.stat import Stat, decode_stat
from tests.support.http import Call, fetch, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import STAT_PORT, QueueProxy, running_queue_proxy


async def scrape(proxy: QueueProxy) -> Stat:
    return decode_stat((await proxy.stat()).body)


async def next_window(proxy: QueueProxy) -> Stat:
    """The stat of a window that ends from now on."""
    before = await scrape(proxy)

    async def later() -> Stat | None:
        stat = await scrape(proxy)
        return stat if stat.process_uptime > before.process_uptime else None

    return await eventually(later)


async def test_64_to_66_the_stat_is_protobuf_from_the_first_moment() -> None:
    async with running_queue_proxy() as proxy:
        response = await proxy.stat("Accept: text/plain")
        assert (response.status, response.value("content-type")) == (200, "application/protobuf")
        assert decode_stat(response.body) in (
            Stat(pod_name="hello-00001-deployment-abc"),
            Stat(pod_name="hello-00001-deployment-abc", process_uptime=decode_stat(response.body).process_uptime),
        )
        first, second = await next_window(proxy), await next_window(proxy)
        assert 0.9 < second.process_uptime - first.process_uptime < 1.3
        assert second == Stat(pod_name="hello-00001-deployment-abc", process_uptime=second.process_uptime)


async def held(call: Call) -> None:
    await call.closed()


@pytest.mark.parametrize("via", [[], ["K-Proxy-Request: activator"]], ids=["direct", "proxied"])
async def test_67_and_69_two_held_requests_read_2_and_count_once(via: list[str]) -> None:
    async with running_app(held) as app, running_queue_proxy(app.port) as proxy:
        clients = [await proxy.open() for _ in range(2)]
        for client in clients:
            await client.request(headers=via)
        await app.call(1)
        first, second = await next_window(proxy), await next_window(proxy)
        assert second.average_concurrent_requests == pytest.approx(2, abs=0.05)
        assert second.request_count == 0
        proxied = 1.0 if via else 0.0
        assert second.average_proxied_concurrent_requests == pytest.approx(2 * proxied, abs=0.05)
        assert first.proxied_request_count == first.request_count * proxied


async def test_68_half_a_second_in_one_window_reads_a_half() -> None:
    async def answer(call: Call) -> None:
        await asyncio.sleep(0.5)
        await call.respond()

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        await next_window(proxy)
        await proxy.fetch()
        stat = await next_window(proxy)
        assert stat.average_concurrent_requests == pytest.approx(0.5, abs=0.1)
        assert stat.request_count == 1


async def test_70_queued_requests_are_included_and_71_probes_are_not() -> None:
    async with running_app(held) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        clients = [await proxy.open() for _ in range(5)]
        for client in clients:
            await client.request()
        await app.call(0)
        await next_window(proxy)
        for _ in range(10):
            assert (await proxy.probe()).status == 200
        stat = await next_window(proxy)
        assert stat.average_concurrent_requests == pytest.approx(5, abs=0.05)
        assert stat.request_count == 0


async def test_72_scrapes_change_nothing() -> None:
    async with running_queue_proxy() as proxy:
        await next_window(proxy)
        started_s = time.monotonic()
        bodies = {(await proxy.stat()).body for _ in range(5)}
        assert time.monotonic() - started_s < 0.9
        assert len(bodies) == 1


async def test_73_nothing_else_is_there() -> None:
    async with running_queue_proxy() as proxy:
        response = await fetch(proxy.host, STAT_PORT, "/")
        assert (response.status, response.body) == (404, b"404 page not found\n")
