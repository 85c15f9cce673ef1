"""`kube.queue_metrics`: what is told of a loop's keys."""

import asyncio

from kube.errors import Conflict
from kube.queue_metrics import add_queue_metrics
from kube.reconcile import Loop
from proxies.metrics.exposition import render
from proxies.metrics.instruments import Registry


class World:
    """A loop of one worker whose clock stands still, and what a scraper sees of it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.may_end = asyncio.Event()
        self.begun = asyncio.Event()
        self.refused = asyncio.Event()
        self.registry = Registry()
        self.loop: Loop[str] = Loop("things", self._reconcile, workers=1)
        self.tries = 0
        add_queue_metrics(self.registry, [self.loop], clock=lambda: self.now_s)

    async def _reconcile(self, key: str) -> None:
        self.tries += 1
        if key == "stale" and self.tries == 1:
            self.refused.set()
            raise Conflict(409, "Conflict", "stale")
        self.begun.set()
        await self.may_end.wait()

    def told(self, name: str) -> list[str]:
        """Lines of a series, without its labels' scope."""
        return [line for line in render(self.registry).decode().splitlines() if line.startswith(f"{name}{{")]

    def value(self, name: str, *labels: str) -> float:
        """The only series with these labels."""
        (line,) = [line for line in self.told(name) if all(label in line for label in labels)]
        return float(line.rpartition(" ")[2])


async def test_keys_that_wait_and_keys_under_way_are_told() -> None:
    world = World()
    world.loop.add("first")
    world.loop.add("second")
    assert world.value("kn_workqueue_depth", 'name="things"') == 2
    world.now_s += 3
    world.loop.start()
    await world.begun.wait()
    world.now_s += 4
    assert world.value("kn_workqueue_depth") == 1
    assert world.value("kn_workqueue_unfinished_work_seconds") == 4
    assert world.value("kn_workqueue_longest_running_processor_seconds") == 4
    assert world.value("kn_workqueue_queue_duration_seconds_sum") == 3
    await world.loop.stop()


async def test_how_reconciles_end_is_counted() -> None:
    world = World()
    world.may_end.set()
    world.loop.start()
    world.loop.add("stale")
    assert world.value("kn_workqueue_adds_total") == 1
    await world.refused.wait()
    await asyncio.sleep(0)
    assert world.value("knuv_reconcile_duration_seconds_count", 'result="conflict"') == 1
    assert world.value("kn_workqueue_retries_total") == 1
    world.now_s += 1
    world.loop.add("stale")
    await world.begun.wait()
    await asyncio.sleep(0)
    await world.loop.stop()
    assert world.value("knuv_reconcile_duration_seconds_count", 'result="success"') == 1
