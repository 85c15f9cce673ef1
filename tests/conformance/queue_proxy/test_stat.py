"""Statements 64 to 73: the load figures that the autoscaler scrapes."""

import asyncio
import time

import pytest

from proxies.wire.stat import Stat, decode_stat
from tests.support.http import App, Call, fetch, running_app
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


async def test_64_the_stat_is_protobuf_from_the_first_moment_whatever_is_accepted() -> None:
    async with running_queue_proxy() as proxy:
        for headers in ([], ["Accept: text/plain"], ["Accept: application/openmetrics-text"]):
            response = await proxy.stat(*headers)
            assert (response.status, response.value("content-type")) == (200, "application/protobuf")
            stat = decode_stat(response.body)
            assert stat == Stat(pod_name="hello-00001-deployment-abc", process_uptime=stat.process_uptime)


async def test_65_the_stat_names_the_pod_and_no_time() -> None:
    async with running_queue_proxy(SERVING_POD="pod-é") as proxy:
        await next_window(proxy)
        body = (await proxy.stat()).body
        assert decode_stat(body).pod_name == "pod-é"
        # Field 1 as it is on the wire, then 9 bytes for field 6: nothing else, and no field 7.
        name = "pod-é".encode()
        assert body[: 2 + len(name)] == b"\x0a" + bytes([len(name)]) + name
        assert (len(body), body[2 + len(name)]) == (2 + len(name) + 9, 0x31)


async def test_66_without_requests_only_the_uptime_grows() -> None:
    async with running_queue_proxy() as proxy:
        first, second = await next_window(proxy), await next_window(proxy)
        assert 0.9 < second.process_uptime - first.process_uptime < 1.3
        assert second == Stat(pod_name="hello-00001-deployment-abc", process_uptime=second.process_uptime)


async def held(call: Call) -> None:
    await call.closed()


async def hold(proxy: QueueProxy, app: App, count: int, *headers: str, reach_app: int) -> None:
    """Send so many requests that are not answered."""
    for _ in range(count):
        client = await proxy.open()
        await client.request(headers=headers)
    await app.call(reach_app - 1)


async def test_67_two_held_requests_read_2_and_count_once() -> None:
    async with running_app(held) as app, running_queue_proxy(app.port) as proxy:
        before = await next_window(proxy)
        await hold(proxy, app, 2, reach_app=2)
        windows = [await next_window(proxy) for _ in range(3)]
        assert [window.request_count for window in windows] == [2, 0, 0]
        assert [window.average_concurrent_requests for window in windows[1:]] == pytest.approx([2, 2], abs=0.05)
        assert before.request_count == 0


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


@pytest.mark.parametrize("via", [["K-Proxy-Request: activator"], ["K-Proxy-Request: x"], []])
async def test_69_only_what_came_through_an_activator_is_proxied(via: list[str]) -> None:
    async with running_app(held) as app, running_queue_proxy(app.port) as proxy:
        await next_window(proxy)
        await hold(proxy, app, 2, *via, reach_app=2)
        first, second = await next_window(proxy), await next_window(proxy)
        share = 1.0 if via == ["K-Proxy-Request: activator"] else 0.0
        assert (first.request_count, first.proxied_request_count) == (2, 2 * share)
        assert second.average_concurrent_requests == pytest.approx(2, abs=0.05)
        assert second.average_proxied_concurrent_requests == second.average_concurrent_requests * share


async def test_70_queued_requests_are_included() -> None:
    async with running_app(held) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        await hold(proxy, app, 5, reach_app=1)
        await next_window(proxy)
        stat = await next_window(proxy)
        assert stat.average_concurrent_requests == pytest.approx(5, abs=0.05)
        assert len(app.calls) == 1


async def test_71_probes_change_nothing() -> None:
    async with running_queue_proxy() as proxy:
        await next_window(proxy)
        for _ in range(10):
            assert (await proxy.probe()).status == 200
            assert (await proxy.probe("K-Network-Probe: probe", "K-Network-Hash: x")).status == 200
            assert (await proxy.fetch("*", method="OPTIONS")).status == 200
        stat = await next_window(proxy)
        assert stat == Stat(pod_name="hello-00001-deployment-abc", process_uptime=stat.process_uptime)


async def test_72_two_scrapes_of_one_window_are_the_same() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        took_s = 1.0
        while took_s > 0.9:  # longer than a window, for want of a processor
            await next_window(proxy)
            assert (await proxy.fetch()).status == 200
            assert (await next_window(proxy)).request_count == 1
            started_s = time.monotonic()
            bodies = {(await proxy.stat()).body for _ in range(5)}
            took_s = time.monotonic() - started_s
        assert len(bodies) == 1


async def test_73_nothing_else_is_on_the_stats_port() -> None:
    async with running_queue_proxy() as proxy:
        response = await fetch(proxy.host, STAT_PORT, "/")
        assert (response.status, response.body) == (404, b"404 page not found\n")
