"""What is measured, how, and against which budget.

Every scenario starts one autoscaler, lets it settle, and reads what the kernel charged it over some rounds of some
seconds. Where reactions are measured, that comes afterwards, under the same load.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtests.lab.autoscaler.fleet import Group
from loadtests.lab.autoscaler.world import World, running_world
from loadtests.reporting import Figure, quantile

__all__ = ["FULL", "QUICK", "SCENARIOS", "Scale", "Scenario"]

_AT_ZERO_AFTER_S = 5.0
"""Two ticks: a revision is at zero when that was decided once."""
_WARM_UP_S = 6.0
"""The windows of panic are full, and what the start made is out of the garbage collector's sight."""
_REACTION_EVERY_S = 0.1
_LATE_REVISIONS: Final = "late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much and how long."""

    share: float = 1.0
    """Of the revisions, pods and senders that the budgets speak of."""
    rounds: int = 3
    seconds: float = 10.0
    reactions: int = 100

    def of(self, count: int) -> int:
        """So many of `count`."""
        return max(1, round(count * self.share))


FULL: Final = Scale()
QUICK: Final = Scale(share=0.01, rounds=1, seconds=1.0, reactions=2)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question; `measure` is given a directory for files."""

    name: str
    question: str
    measure: Callable[[Path, Scale], Awaitable[list[Figure]]]


async def tick(scratch: Path, scale: Scale) -> list[Figure]:
    """10,000 revisions whose load activators push, each decided every two seconds."""
    revisions, senders = scale.of(10_000), scale.of(50)
    group = Group(name="pushed", revisions=revisions, is_scraped=False)
    names = group.names()
    async with running_world(scratch, [group], [names[number::senders] for number in range(senders)]) as world:
        cores, megabytes = await _rounds(world, scale)
    return [
        Figure("tick", f"{revisions} revisions, cores", "core", cores, 0.5, digits=3),
        Figure("tick", f"{revisions} revisions, RSS", "MB", megabytes, 400.0),
    ]


async def decisions(scratch: Path, scale: Scale) -> list[Figure]:
    """One decision, with full windows, among 10,000 revisions."""
    command = [sys.executable, "-m", "loadtests.lab.autoscaler.decisions", str(scale.of(10_000))]
    runs = []
    for _ in range(scale.rounds):
        done = await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.PIPE)
        runs.append(json.loads(done.stdout))
    return [
        Figure("decisions", "decider call, median", "us", tuple(run["median_us"] for run in runs), 15.0),
        Figure("decisions", "decider call, 99th percentile", "us", tuple(run["p99_us"] for run in runs)),
        Figure("decisions", "state of a revision", "KB", tuple(run["state_kb"] for run in runs), digits=2),
    ]


async def stats(scratch: Path, scale: Scale) -> list[Figure]:
    """1,000 activators that tell the load of 20 revisions each every second."""
    senders = scale.of(1_000)
    group = Group(name="pushed", revisions=scale.of(1_000), is_scraped=False)
    names = group.names()
    told = [[names[(number + step * 37) % len(names)] for step in range(20)] for number in range(senders)]
    late = _late(scale)
    async with running_world(scratch, [group, late], told) as world:
        cores, megabytes = await _rounds(world, scale)
        return [
            Figure("stats", f"{senders} senders x 20 revisions, cores", "core", cores, 0.5, digits=3),
            Figure("stats", "RSS", "MB", megabytes),
            *await _reactions("stats", world, late),
        ]


async def scraped(scratch: Path, scale: Scale) -> list[Figure]:
    """500 revisions with one pod each."""
    group = Group(name="scraped", revisions=scale.of(500))
    late = _late(scale)
    async with running_world(scratch, [group, late]) as world:
        cores, megabytes = await _rounds(world, scale)
        return [
            Figure("scraped", f"{group.revisions} pods, CPU", "ms/s", tuple(core * 1000 for core in cores), 50.0),
            Figure("scraped", "RSS", "MB", megabytes, 80.0),
            *await _reactions("scraped", world, late),
            _failures("scraped", world),
        ]


async def scrapes(scratch: Path, scale: Scale) -> list[Figure]:
    """5,000 pods, four to a revision, each asked every second."""
    group = Group(name="scraped", revisions=scale.of(1_250), pods=4)
    late = _late(scale)
    async with running_world(scratch, [group, late]) as world:
        cores, megabytes = await _rounds(world, scale)
        return [
            Figure("scrapes", f"{group.revisions * 4} scrapes/s, cores", "core", cores, 0.6, digits=3),
            Figure("scrapes", "RSS", "MB", megabytes),
            *await _reactions("scrapes", world, late),
            _failures("scrapes", world),
        ]


def _late(scale: Scale) -> Group:
    """Revisions at zero that are to be woken."""
    return Group(name=_LATE_REVISIONS, revisions=scale.reactions, pods=0, is_scraped=False)


async def _rounds(world: World, scale: Scale) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(cores in use, resident megabytes) of each round."""
    cores, megabytes = [], []
    await asyncio.sleep(_WARM_UP_S)
    for _ in range(scale.rounds):
        cpu_ns, began_s = world.process.cpu_ns(), time.monotonic()
        await asyncio.sleep(scale.seconds)
        cores.append((world.process.cpu_ns() - cpu_ns) / 1e9 / (time.monotonic() - began_s))
        megabytes.append(world.process.rss_bytes() / 1e6)
        world.check()
    return tuple(cores), tuple(megabytes)


async def _reactions(scenario: str, world: World, late: Group) -> list[Figure]:
    """From the stat of a first request, sent, to the patch of the scale, arrived."""
    await asyncio.sleep(_AT_ZERO_AFTER_S)
    took_ms = []
    async with world.activator() as activator:
        for name in late.names():
            took_ms.append(await world.reaction_s(activator, name) * 1000)
            await asyncio.sleep(_REACTION_EVERY_S)
    return [
        Figure(scenario, "stat to patch, median", "ms", (quantile(took_ms, 0.5),), digits=2),
        Figure(scenario, "stat to patch, 95th percentile", "ms", (quantile(took_ms, 0.95),), 5.0, digits=2),
    ]


def _failures(scenario: str, world: World) -> Figure:
    """Figures of an autoscaler whose scrapes fail would be worth nothing."""
    failed = world.log_events("scrape_failed")
    return Figure(scenario, "revisions whose scrape failed", "", (float(failed),), 0.0, digits=0)


SCENARIOS: Final = (
    Scenario("tick", "What do 10,000 revisions cost?", tick),
    Scenario("decisions", "What does one decision cost?", decisions),
    Scenario("stats", "What do 20,000 stats a second cost?", stats),
    Scenario("scraped", "What do 500 scraped revisions cost?", scraped),
    Scenario("scrapes", "What do 5,000 scrapes a second cost?", scrapes),
)
