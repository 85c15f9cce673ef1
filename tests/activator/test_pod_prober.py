"""Probing over real sockets: what results mean, and that probes which nobody wants any more are given up."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from activator.endpoints import Addresses
from activator.pod_prober import Observation, PodProber, judge
from activator.pod_states import Backends, ProbeOutcome, ProbeSettings
from proxies.heads import response_head
from proxies.probe import ProbeResult
from tests.support.processes import eventually

KEY = ("ns", "rev")
DEADLINE_S = 30.0


def answer(status: int, body: bytes = b"") -> ProbeResult:
    return ProbeResult(head=response_head(b"HTTP/1.1 %d X" % status), body=body)


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (answer(200, b"queue"), ProbeOutcome.PASSED),
        (answer(200, b"queue\n"), ProbeOutcome.NOT_MESH),
        (answer(404, b"queue"), ProbeOutcome.NOT_MESH),
        (answer(301, b"queue"), ProbeOutcome.NOT_MESH),
        (answer(502), ProbeOutcome.MAYBE_MESH),
        (answer(503), ProbeOutcome.MAYBE_MESH),
        (answer(503, b"no healthy upstream"), ProbeOutcome.MAYBE_MESH),
        (answer(503, b"shutting down\n"), ProbeOutcome.DRAINING),
        (ProbeResult(error="connection refused", is_refused=True), ProbeOutcome.REFUSED),
        (ProbeResult(error="no result within 0.3 s"), ProbeOutcome.SILENT),
        (ProbeResult(head=answer(200).head, body=b"queue", error="EOF"), ProbeOutcome.SILENT),
    ],
)
def test_what_a_result_means(result: ProbeResult, outcome: ProbeOutcome) -> None:
    assert judge(result) is outcome


def observation(*addresses: str) -> Observation:
    return Observation(Addresses(frozenset(), frozenset(addresses)), "", True, b"")


@asynccontextmanager
async def prober() -> AsyncIterator[tuple[PodProber, asyncio.Queue[Backends]]]:
    published: asyncio.Queue[Backends] = asyncio.Queue()
    running = PodProber(
        asyncio.get_running_loop(),
        ProbeSettings(frequency_s=0.2),
        timeout_s=60.0,
        publish=lambda key, backends: published.put_nowait(backends),
        over=lambda key, address, reason: None,
    )
    try:
        yield running, published
    finally:
        running.close()


@asynccontextmanager
async def pod(body: bytes | None, bound: socket.socket | None = None) -> AsyncIterator[tuple[str, asyncio.Queue[str]]]:
    """The address of a pod that answers probes with `body`, or not at all; and what happens to its connections."""
    events: asyncio.Queue[str] = asyncio.Queue()
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            # Somebody looked whether anybody listens.
            writer.close()
            return
        events.put_nowait("probed")
        if body is not None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        with suppress(ConnectionError):
            await reader.read()
        events.put_nowait("closed")
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.get_running_loop().create_task(serve(reader, writer)))

    at: dict[str, Any] = {"host": "127.0.0.1", "port": 0} if bound is None else {"sock": bound}
    server = await asyncio.start_server(accept, **at)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}", events
    finally:
        server.close()
        await asyncio.gather(*serving)


async def test_a_pod_that_passes_is_published() -> None:
    async with pod(b"queue") as (address, events), prober() as (running, published), asyncio.timeout(DEADLINE_S):
        running.observe(KEY, observation(address))
        assert await published.get() == Backends(pods=(address,))
        assert [await events.get() for _ in range(2)] == ["probed", "closed"]


@pytest.mark.parametrize("how", ["left the list", "forgotten", "closed"])
async def test_a_probe_that_nobody_wants_any_more_is_given_up(how: str) -> None:
    async with pod(None) as (address, events), prober() as (running, published), asyncio.timeout(DEADLINE_S):
        running.observe(KEY, observation(address))
        assert await events.get() == "probed"
        if how == "left the list":
            running.observe(KEY, observation())
        elif how == "forgotten":
            running.forget(KEY)
        else:
            running.close()
        assert await events.get() == "closed"
        assert published.empty()


async def test_a_forgotten_revision_has_no_backends() -> None:
    async with pod(b"queue") as (address, _), prober() as (running, published), asyncio.timeout(DEADLINE_S):
        running.observe(KEY, observation(address))
        await published.get()
        running.forget(KEY)
        assert await published.get() == Backends()


async def test_a_pod_that_refused_is_found_when_it_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        host, port = reserved.getsockname()
        async with prober() as (running, published), asyncio.timeout(DEADLINE_S):
            running.observe(KEY, observation(f"{host}:{port}"))
            watch = running._watches[KEY]
            await eventually(lambda: watch.states.has_refused(f"{host}:{port}"))
            # Bound already, and from now on it takes connections.
            async with pod(b"queue", reserved) as (address, _):
                assert await published.get() == Backends(pods=(address,))


class CountedTimers:
    """A loop that counts what is asked for at a time."""

    def __init__(self) -> None:
        self.timers = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)

    def call_at(self, *arguments: Any) -> asyncio.TimerHandle:
        self.timers += 1
        return asyncio.get_running_loop().call_at(*arguments)


async def test_what_follows_from_probes_that_fail_together_is_worked_out_once() -> None:
    loop = CountedTimers()
    running = PodProber(
        loop,  # type: ignore[arg-type]
        ProbeSettings(),
        timeout_s=60.0,
        publish=lambda key, backends: None,
        over=lambda key, address, reason: None,
    )
    try:
        # Nobody listens on port 1.
        running.observe(KEY, observation(*(f"127.0.0.{number}:1" for number in range(10, 60))))
        await eventually(lambda: loop.timers)
        assert loop.timers < 10, "a timer for each of 50 probes"
    finally:
        running.close()


async def test_a_revision_that_is_forgotten_while_its_probes_fail_is_not_probed_again() -> None:
    async with prober() as (running, published), asyncio.timeout(DEADLINE_S):
        running.observe(KEY, observation("127.0.0.1:1"))
        watch = running._watches[KEY]
        while not watch.is_to_go_on:  # noqa: ASYNC110 - the moment between failing and what follows
            await asyncio.sleep(0)
        running.forget(KEY)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (watch.timer, watch.probes, published.empty()) == (None, {}, True)
