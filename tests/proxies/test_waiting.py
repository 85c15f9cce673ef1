"""Requests that wait for a connection: who has left takes no room, who has not is served in order."""

import gc
from collections import deque

import pytest

from proxies import pool
from proxies.dialling import Unreachable
from proxies.exchange import Exchange
from proxies.http2.errors import CANCEL
from proxies.pool import Waiting
from tests.proxies.diallers import CutOnce, RefusedOnce
from tests.proxies.test_http2_exchanges import running_bench
from tests.proxies.test_server import running_proxy
from tests.support.http import Client, running_app
from tests.support.processes import eventually


class Waiter:
    """As much of an exchange as waits."""

    def __init__(self) -> None:
        self.is_over = False


def test_those_that_have_left_are_forgotten_and_the_others_keep_their_order() -> None:
    waiting, wanted = Waiting(), deque[Waiter]()
    for number in range(20_000):
        waiter = Waiter()
        waiting.append(waiter)  # type: ignore[arg-type]
        if number % 100:
            waiter.is_over = True
        else:
            wanted.append(waiter)
        assert len(waiting) <= max(pool._FEW, 2 * len(wanted) + 1)
        if number % 1000 == 999:
            assert [id(each) for each in waiting if not each.is_over] == list(map(id, wanted))


def exchanges() -> int:
    gc.collect()
    return sum(type(each) is Exchange for each in gc.get_objects())


async def test_streams_that_are_reset_during_a_dial_are_not_kept_until_its_end() -> None:
    before = exchanges()
    async with running_bench() as bench:
        dialler = RefusedOnce(bench.policy.endpoint.dialler, Unreachable("refused"))
        bench.policy.endpoint.dialler = dialler  # type: ignore[assignment]
        client = await bench.client()
        client.request(1)
        await dialler.began.wait()
        client.request(3)
        for stream_id in range(5, 805, 2):
            client.request(stream_id)
            client.reset(stream_id, CANCEL)
        await eventually(lambda: len(bench.policy.ended_with) == 400)
        assert exchanges() - before <= 2 * pool._FEW
        dialler.may_end.set()
        assert (await client.response(1))[0] == 502
        app = await bench.app.accepted()
        app.head((await app.fields())[2], (":status", "200"), done=True)
        assert await client.response(3) == (200, b"")


async def test_clients_that_leave_while_all_dials_hang_are_not_kept_until_their_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_DIALS_MAX", 1)
    monkeypatch.setattr(pool, "_FEW", 8)
    before = exchanges()
    async with running_proxy(1) as proxy:
        dialler = RefusedOnce(proxy.policy.endpoint.dialler, Unreachable("refused"))
        proxy.policy.endpoint.dialler = dialler  # type: ignore[assignment]
        first = await proxy.open()
        await first.request()
        await dialler.began.wait()
        for wave in range(1, 6):
            clients = [await Client.open("127.0.0.1", proxy.port) for _ in range(20)]
            for client in clients:
                await client.request()
            await eventually(lambda: proxy.server.active == 21)
            for client in clients:
                client.close()
            await eventually(lambda wave=wave: len(proxy.policy.ended_with) == 20 * wave)  # type: ignore[misc]
        assert exchanges() - before <= 50
        dialler.may_end.set()
        assert (await first.response()).status == 502


async def test_a_connection_that_comes_when_its_attempt_is_given_up_is_not_counted_for_ever() -> None:
    async with running_bench() as bench:
        cut = CutOnce(bench.policy.endpoint.dialler, bench.app.port)
        bench.policy.endpoint.dialler = cut  # type: ignore[assignment]
        client = await bench.client()
        client.request(1)
        await eventually(
            lambda: any(type(each).__name__ == "HeadersFrame" for peer in bench.app.connections for each in peer.frames)
        )
        assert cut.is_cut
        assert len(bench.pool.connections) == 1
    async with running_app() as other, running_proxy(other.port) as proxy:
        cut = CutOnce(proxy.policy.endpoint.dialler, other.port)
        proxy.policy.endpoint.dialler = cut  # type: ignore[assignment]
        plain = await proxy.open()
        await plain.request()
        assert (await plain.response()).status == 200
        assert cut.is_cut
        assert len(proxy.pool.connections) == 1
