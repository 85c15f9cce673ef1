"""A flood of connections beyond the limit of open files: accepting pauses, nobody inside is hurt, and it goes on."""

import asyncio
import signal
from typing import Any

import pytest

from tests.faults.support import GET, Peer, Vitals, fence, run_watched
from tests.support.http import running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import ADMIN_PORT, STAT_PORT, QueueProxy, running_queue_proxy

OPEN_FILES = 200
FLOOD = 600
QUICK = b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n"


def complaints(proxy: QueueProxy) -> list[dict[str, Any]]:
    """Everything that was logged above the level of information."""
    return [event for event in proxy.events if event.get("severity") != "INFO"]


async def flood(proxy: QueueProxy, count: int = FLOOD) -> list[Peer]:
    """Connections that ask for something and would not mind an answer."""
    return [await Peer.open(proxy, GET) for _ in range(count)]


async def serve_out(peers: list[Peer], inside: int) -> None:
    """Of `inside` that have an answer some leave and let the next ones in, and so on until all have been inside.

    No answer is anything but a 200, and nobody is sent away.
    """
    waiting = list(peers)
    served: list[Peer] = []

    def are_most_places_taken() -> bool:
        for peer in list(waiting):
            answer = peer.receive_now()
            if answer is not None:
                assert answer.startswith(b"HTTP/1.1 200 ")
                waiting.remove(peer)
                served.append(peer)
        return len(served) >= 0.9 * inside or not waiting

    while waiting:
        await eventually(are_most_places_taken)
        while len(served) > 0.8 * inside:
            served.pop().close()
    for peer in served:
        peer.close()


@pytest.mark.parametrize("arrival", ["one-by-one", "all-at-once"])
async def test_a_flood_waits_outside_those_inside_are_served_and_all_are_in_the_end(arrival: str) -> None:
    async with (
        running_app() as app,
        running_queue_proxy(app.port, open_files=OPEN_FILES) as proxy,
    ):
        vitals = Vitals(proxy.process.pid)
        async with run_watched(proxy, QUICK) as watch:
            await eventually(lambda: len(watch.round_trips_s) > 10)
            if arrival == "all-at-once":
                proxy.process.send_signal(signal.SIGSTOP)
            peers = await flood(proxy)
            proxy.process.send_signal(signal.SIGCONT)
            await eventually(lambda: complaints(proxy))
            round_trips = len(watch.round_trips_s)
            await eventually(lambda: len(watch.round_trips_s) > round_trips + 100)
            assert vitals.open_files() < OPEN_FILES
            # The bystander has one of the places.
            await serve_out(peers, complaints(proxy)[0]["connections"] - 1)
        assert (await proxy.fetch()).body == b"hello"
        assert [event["message"] for event in complaints(proxy)] == ["accept_paused"]


async def test_a_pause_costs_no_cpu_and_each_episode_is_one_line() -> None:
    async with running_app() as app, running_queue_proxy(app.port, open_files=OPEN_FILES) as proxy:
        vitals = Vitals(proxy.process.pid)
        for episode in range(3):
            peers = await flood(proxy)
            await eventually(lambda: len(complaints(proxy)) > episode)  # noqa: B023 - called before the next turn
            before_cpu_s = vitals.cpu_s()
            await asyncio.sleep(1)
            assert vitals.cpu_s() - before_cpu_s <= 0.05
            await serve_out(peers, complaints(proxy)[-1]["connections"])
            assert (await proxy.fetch()).body == b"hello"
        assert [event["message"] for event in complaints(proxy)] == ["accept_paused"] * 3


async def test_floods_of_the_side_ports_take_no_descriptor_that_the_main_port_needs() -> None:
    async with running_app() as app, running_queue_proxy(app.port, open_files=OPEN_FILES) as proxy:
        others = [await Peer.open(proxy, port=port) for port in (STAT_PORT, ADMIN_PORT) for _ in range(OPEN_FILES)]
        await fence(proxy)
        peers = await flood(proxy)
        await eventually(lambda: any(event["connections"] > OPEN_FILES / 8 for event in complaints(proxy)))
        assert {peer.receive_now() for peer in others} == {None}, "they wait, too"
        for peer in others:
            peer.close()
        await serve_out(peers, 1)
        assert (await proxy.fetch()).body == b"hello"
        assert (await proxy.stat()).status == 200
        assert (await proxy.admin("/other")).status == 404
