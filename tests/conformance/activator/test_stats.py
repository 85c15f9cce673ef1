"""Statements 54 to 62: what the autoscaler hears, and when."""

import asyncio
import time
from itertools import pairwise

from websockets.utils import accept_key

from proxies.wire.stat import Stat, StatMessage
from tests.conformance.activator.world import DEADLINE_S, SOON_S, Autoscaler, Message, World, activator, surroundings
from tests.support.processes import eventually


def stat(frame_index: int, autoscaler: Autoscaler) -> Stat:
    (message,) = autoscaler.frames[frame_index].messages
    return message.stat


async def test_statement_54_the_connection_is_a_plain_websocket_to_the_root() -> None:
    async with activator() as world:
        assert world.autoscaler.paths == ["/"]
        (headers,) = world.autoscaler.request_headers
        assert dict(headers)["Host"] == "autoscaler.knative-serving.svc.cluster.local:8080"
        names = {name.lower() for name, _ in headers}
        expected = {"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"}
        assert names == expected


async def test_statement_55_the_first_request_is_reported_at_once() -> None:
    async with activator() as world:
        began = time.monotonic()
        waiting = world.start_get()
        frame = await world.autoscaler.frame(0)
        assert frame.at - began < SOON_S
        assert frame.is_binary
        expected = Stat(pod_name="activator-1", average_concurrent_requests=1.0, request_count=1.0)
        assert frame.messages == [StatMessage("ns", "rev", expected)]
        waiting.cancel()


async def test_statement_56_the_first_report_is_less_by_the_first_request() -> None:
    async with activator() as world:
        waiting = [world.start_get(), world.start_get()]
        await world.autoscaler.frame(2)
        for task in waiting:
            task.cancel()
        first, second = stat(1, world.autoscaler), stat(2, world.autoscaler)
        assert 0.3 < first.average_concurrent_requests <= 1
        assert first.request_count == 1
        assert second == Stat(pod_name="activator-1", average_concurrent_requests=2.0, request_count=0.0)
        frames = world.autoscaler.frames
        assert 0.5 < frames[2].at - frames[1].at < 1 + SOON_S  # the first of them may be seen late


async def test_statement_57_a_revisions_end_is_reported_and_then_silence() -> None:
    async with activator() as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get()
        await world.autoscaler.until_silent()
        frames = world.autoscaler.frames
        count = len(frames)
        assert 2 <= count <= 3
        assert stat(count - 1, world.autoscaler) == Stat(pod_name="activator-1")
        # A revision that is asked for anew is reported at once, as the next message, with 1 and 1.
        await world.get()
        await world.autoscaler.frame(count)
        assert stat(count, world.autoscaler).average_concurrent_requests == 1.0
        assert stat(count, world.autoscaler).request_count == 1.0


async def test_statement_58_all_revisions_are_in_one_message() -> None:
    async with activator() as world:
        await world.revision("other")
        waiting = [world.start_get()]
        await world.autoscaler.frame(0)
        waiting.append(await known_to_wait(world, "other"))
        await world.autoscaler.until(lambda self: len(self.frames[-1].messages) == 2, "no message with two")
        assert {message.name for message in world.autoscaler.frames[-1].messages} == {"rev", "other"}
        for task in waiting:
            task.cancel()


async def known_to_wait(world: World, name: str) -> asyncio.Task[Message]:
    """A request that waits for a pod of the revision; before the activator knows it, requests are answered at once."""

    def is_told(autoscaler: Autoscaler) -> bool:
        return any(message.name == name for frame in autoscaler.frames for message in frame.messages)

    told = asyncio.create_task(world.autoscaler.until(is_told, f"nothing about {name}"))
    while True:
        request = world.start_get(revision=("ns", name))
        await asyncio.wait([request, told], return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            await told
            return request
        assert request.result().status == 404


async def test_statement_59_an_idle_connection_carries_pings_and_nothing_else() -> None:
    async with activator() as world:
        autoscaler = world.autoscaler
        await eventually(lambda: len(autoscaler.pings) >= 2)
        gaps_s = [later - earlier for earlier, later in pairwise(autoscaler.pings)]
        assert all(1.0 < gap_s < 4.0 + SOON_S for gap_s in gaps_s), gaps_s
        assert autoscaler.frames == []


async def test_statement_60_a_server_that_answers_no_pings_is_left_after_ten_seconds() -> None:
    connected_s: list[float] = []
    second = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(
            line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")
        )
        lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
        writer.write("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept_key(key)}", "\r\n"]).encode())
        connected_s.append(time.monotonic())
        if len(connected_s) == 2:
            second.set()
        await reader.read()
        writer.close()

    async with surroundings(network={}) as world:
        await world.autoscaler.stop()
        server = await asyncio.start_server(mute, "127.0.0.1", world.autoscaler.port)
        try:
            await world.spawn()
            async with asyncio.timeout(DEADLINE_S):
                await second.wait()
            assert 9.0 < connected_s[1] - connected_s[0] < 10 + SOON_S
        finally:
            await world.end()
            server.close()
            await server.wait_closed()


async def test_statements_60_and_61_after_a_close_it_is_back_soon_and_the_outage_is_not_reported() -> None:
    async with activator() as world:
        await world.autoscaler.close_connections()
        began = time.monotonic()
        await world.autoscaler.until(lambda self: len(self.paths) == 2, "no second connection")
        assert time.monotonic() - began < SOON_S
        await world.logged("stat_connection_down")
        await world.logged("stat_connection_up", count=2)


async def test_statement_61_if_strict_stats_of_an_outage_are_not_sent_later() -> None:
    async with activator(KNUV_STRICT_COMPAT="1") as world:
        await world.autoscaler.stop()
        await world.logged("stat_connection_down")
        waiting = world.start_get()
        # A probe is answered behind every request that was sent before it.
        await world.get(headers=[("K-Network-Probe", "activator")])
        await world.autoscaler.start()
        await world.logged("stat_connection_up", count=2)
        await world.autoscaler.frame(0)
        assert stat(0, world.autoscaler) != Stat("activator-1", 1.0, 0.0, 1.0), "the first request's own message"
        waiting.cancel()


async def test_what_waits_for_a_first_pod_is_told_as_soon_as_there_is_a_connection() -> None:
    async with activator() as world:
        await world.revision("warm")
        await world.endpoints(ready=[await world.pod(10)], name="warm")
        await eventually(lambda: world.get(revision=("ns", "warm")))
        await world.autoscaler.until_silent()
        world.autoscaler.frames.clear()
        await world.autoscaler.stop()
        await world.logged("stat_connection_down")
        waiting = [world.start_get() for _ in range(3)]
        assert (await world.get(revision=("ns", "warm"))).status == 200
        await world.autoscaler.start()
        await world.logged("stat_connection_up", count=2)
        first = await world.autoscaler.frame(0)
        expected = Stat(pod_name="activator-1", average_concurrent_requests=1.0, request_count=1.0)
        assert first.messages == [StatMessage("ns", "rev", expected)]
        for task in waiting:
            task.cancel()


async def test_statement_62_probes_are_not_counted() -> None:
    async with activator() as world:
        for header in ("K-Kubelet-Probe", "K-Network-Probe"):
            await world.get(headers=[(header, "activator")])
        await world.autoscaler.until_silent()
        assert world.autoscaler.frames == []
