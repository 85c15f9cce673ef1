"""Processes that are killed while events come: with a journal every event that got 202 is delivered."""

import asyncio
import itertools
import time
from pathlib import Path

import pytest

from tests.faults.eventing.plant import PATIENT, Flow, all_arrived, plant
from tests.support.dispatcher import Sink


async def test_every_event_that_got_202_is_delivered_though_each_process_is_killed_in_turn(
    tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = pytestconfig.getoption("--kill-seconds", 9)
    every_s = pytestconfig.getoption("--kill-every", 1.5)
    rate = pytestconfig.getoption("--events", 100)
    async with plant(tmp_path) as world:
        sinks: list[Sink] = [await world.world.sink(), await world.world.sink()]
        path = await world.broker(*((sink.url, PATIENT) for sink in sinks))
        flow = Flow(world.address("ingress"), path, rate)
        flow.start()
        end_s = time.monotonic() + seconds
        for name in itertools.cycle(("dispatcher", "filter", "ingress")):
            await asyncio.sleep(every_s)
            if time.monotonic() > end_s:
                break
            await world.processes[name].kill()
            await world.processes[name].start()
        accepted = await flow.end()
        counts = [await all_arrived(sink, accepted) for sink in sinks]
    assert len(accepted) > seconds * rate / 4, flow.refused
    with capsys.disabled():
        for number, count in enumerate(counts):
            extra = sum(count.values()) - len(count)
            print(f"\n  subscriber {number}: {len(accepted)} accepted, {extra} came twice", end="")
        print(f"\n  refused, and so sent by their sender again: {dict(flow.refused)}", end=" ")
