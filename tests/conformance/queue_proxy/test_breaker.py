"""Statements 50 to 55: who runs, who waits, who is refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.http import App, Call, Client, Response, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy


class World:
    """An app that answers when it is let, behind a queue-proxy that lets one request in."""

    def __init__(self, app: App, proxy: QueueProxy, release: asyncio.Semaphore) -> None:
        self.app, self.proxy, self.release = app, proxy, release

    async def ask(self, target: str = "/") -> Client:
        """Send a request on a connection of its own."""
        client = await self.proxy.open()
        await client.request(target)
        return client

    async def fill(self) -> list[Client]:
        """11 requests: one runs, ten wait, in this order."""
        first = await self.ask("/0")
        await self.app.call(0)
        return [first, *[await self.ask(f"/{number}") for number in range(1, 11)]]

    async def refusal(self) -> Response:
        """The answer to a request that finds the queue full; those that are let in before that give up at once."""

        async def once() -> Response | None:
            try:
                return await asyncio.wait_for(self.proxy.fetch("/late"), 0.2)
            except TimeoutError:
                return None

        return await eventually(once)


@asynccontextmanager
async def running_world(concurrency: int = 1) -> AsyncIterator[World]:
    release = asyncio.Semaphore(0)

    async def answer(call: Call) -> None:
        if not call.values("k-kubelet-probe"):
            await release.acquire()
        await call.respond(200, b"done")

    async with (
        running_app(answer) as app,
        running_queue_proxy(app.port, CONTAINER_CONCURRENCY=str(concurrency)) as proxy,
    ):
        yield World(app, proxy, release)


async def test_50_one_runs_ten_wait_and_the_twelfth_is_refused_at_once() -> None:
    async with running_world() as world:
        await world.fill()
        refused = await world.refusal()
        assert (refused.status, refused.body) == (503, b"pending request queue full\n")
        assert refused.value("content-type") == "text/plain; charset=utf-8"
        assert [call.target for call in world.app.calls] == ["/0"]


async def test_51_each_that_ends_lets_exactly_one_more_in() -> None:
    async with running_world() as world:
        clients = await world.fill()
        await world.refusal()
        for number, client in enumerate(clients):
            await world.app.call(number)
            assert len(world.app.calls) == number + 1
            world.release.release()
            assert (await client.response()).body == b"done"
        assert [call.target for call in world.app.calls] == [f"/{number}" for number in range(11)]


async def test_52_the_app_never_has_more_than_its_concurrency() -> None:
    async with running_world(concurrency=3) as world:
        clients = [await world.ask() for _ in range(30)]
        await world.app.call(2)
        for _ in clients:
            world.release.release()
        assert {(await client.response()).status for client in clients} == {200}
        assert (world.app.inside_max, len(world.app.calls)) == (3, 30)


async def test_53_without_a_limit_all_requests_reach_the_app_at_once() -> None:
    async with running_world(concurrency=0) as world:
        clients = [await world.ask() for _ in range(500)]
        await world.app.call(499)
        assert world.app.inside == 500
        for _ in clients:
            world.release.release()
        assert {(await client.response()).status for client in clients} == {200}


async def test_54_a_client_that_leaves_while_it_waits_frees_its_place() -> None:
    async with running_world() as world:
        clients = await world.fill()
        assert (await world.refusal()).status == 503
        clients[5].close()
        while True:
            newcomer = await world.ask("/new")
            try:
                assert (await asyncio.wait_for(newcomer.head(), 0.3)).status == 503  # it is not seen yet that one left
            except TimeoutError:
                break
        for _ in range(11):
            world.release.release()
        assert (await newcomer.response()).status == 200
        assert "/5" not in [call.target for call in world.app.calls]


async def test_55_probes_are_answered_and_kubelets_requests_pass_while_it_is_full() -> None:
    async with running_world() as world:
        clients = await world.fill()
        await world.refusal()
        assert (await world.proxy.probe()).body == b"queue"
        assert (await world.proxy.fetch(headers=["K-Kubelet-Probe: x", "K-Original-Host: o"])).body == b"done"
        assert world.app.calls[-1].values("k-original-host") == ["o"]
        for _ in clients:
            world.release.release()
        assert [(await client.response()).status for client in clients] == [200] * 11
