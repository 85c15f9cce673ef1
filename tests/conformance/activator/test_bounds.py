"""What may wait for one revision, in requests and in bytes, and that it is no matter to other revisions."""

import asyncio
import time

import pytest

from tests.conformance.activator.world import DEADLINE_S, Autoscaler, Message, World, activator, read_message

REFUSED = (503, b"pending request queue full\n", "1")


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes, str]:
    async with asyncio.timeout(DEADLINE_S):
        message = await read_message(reader)
    return message.status, message.body, message.get("retry-after")


async def start_pod(world: World) -> None:
    await world.endpoints(ready=[await world.pod(10)])


async def test_bodies_that_wait_count_and_the_one_too_many_is_refused_as_it_grows() -> None:
    async with activator(KNUV_HELD_BYTES_MAX="20000") as world:
        first, first_writer = await world.send(method="POST", headers=[("Content-Length", "10000")])
        first_writer.write(b"x" * 3000)
        second, second_writer = await world.send(method="POST", headers=[("Content-Length", "50000")])
        await world.autoscaler.heard_of(2)
        second_writer.write(b"y" * 40_000)
        assert await response(second) == REFUSED
        await world.autoscaler.heard_of(1)
        # Its bytes are free again.
        third, _ = await world.send(method="POST", body=b"z" * 3000)
        first_writer.write(b"x" * 7000)
        await start_pod(world)
        assert (await response(first))[0] == (await response(third))[0] == 200


async def test_a_head_counts() -> None:
    async with activator(KNUV_HELD_BYTES_MAX="20000") as world:
        assert await response((await world.send(headers=[("X-Long", "x" * 20_000)]))[0]) == REFUSED
        waiting, _ = await world.send(headers=[("X-Long", "x" * 1000)])
        await start_pod(world)
        assert (await response(waiting))[0] == 200


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
async def test_requests_that_wait_behind_a_held_one_count(at_once: bool) -> None:
    async with activator(KNUV_HELD_BYTES_MAX="20000") as world:
        reader, writer = await world.connect()
        head = b"GET / HTTP/1.1\r\nHost: h\r\nKnative-Serving-Namespace: ns\r\nKnative-Serving-Revision: rev\r\n"
        first, second = head + b"\r\n", head + b"X-Long: %s\r\n\r\n" % (b"x" * 30_000)
        probe = b"GET / HTTP/1.1\r\nHost: h\r\nK-Network-Probe: activator\r\n\r\n"
        if at_once:
            writer.write(first + second + probe)
        else:
            writer.write(first)
            await world.autoscaler.heard_of(1)
            writer.write(second + probe)
        assert await response(reader) == REFUSED
        assert await response(reader) == REFUSED
        # The connection goes on.
        assert await response(reader) == (200, b"activator", "")


async def test_a_flooded_revision_is_no_matter_to_another() -> None:
    async with activator(KNUV_HELD_REQUESTS_MAX="500") as world:
        await world.revision("calm")
        await world.revision("flooded", timeoutSeconds=60)
        flooded_key = ("ns", "flooded")
        pod = await world.pod(10)
        await world.endpoints(name="calm", ready=[pod])
        await world.get(revision=("ns", "calm"))
        idle = await latencies(world, 100)

        stop = asyncio.Event()

        async def flood() -> list[Message]:
            answers = []
            while not stop.is_set():
                answers.append(await world.get(revision=flooded_key))
            return answers

        waiting = [world.start_get(revision=flooded_key) for _ in range(500)]
        await world.autoscaler.until(_is_flooded, "the flood is not inside")
        flooding = [asyncio.get_running_loop().create_task(flood()) for _ in range(2)]
        flooded = await latencies(world, 100)
        stop.set()
        refused = [answer for answers in await asyncio.gather(*flooding) for answer in answers]
        assert len(refused) >= 10
        assert {answer.status for answer in refused} == {503}
        # The median, as the machine is shared; a request that stood behind those of the flood would take seconds.
        assert flooded[50] < 10 * idle[50] + 0.02
        assert flooded[99] < 4.0
        await world.endpoints(name="flooded", ready=[pod])
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}


def _is_flooded(autoscaler: Autoscaler) -> bool:
    messages = autoscaler.frames[-1].messages
    return any(message.name == "flooded" and message.stat.average_concurrent_requests == 500 for message in messages)


async def latencies(world: World, count: int) -> list[float]:
    """Seconds that requests one after another to revision `calm` take, sorted."""
    taken = []
    for _ in range(count):
        began = time.monotonic()
        assert (await world.get(revision=("ns", "calm"))).status == 200
        taken.append(time.monotonic() - began)
    return sorted(taken)
