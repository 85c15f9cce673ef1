"""`autoscaler.garbage`: what is alive is out of the collector's sight, and comes back at the end."""

import gc

import pytest

from autoscaler import garbage
from autoscaler.garbage import GarbageKeeper
from tests.support.processes import eventually


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "_FIRST_S", 0.01)
    monkeypatch.setattr(garbage, "_EVERY_S", 0.01)
    monkeypatch.setattr(garbage, "_THAW_EVERY", 3)


class Node:
    """Part of a cycle; counts how many are gone."""

    gone = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Node.gone += 1


async def test_what_is_alive_is_frozen_and_thawed_at_the_end() -> None:
    keeper = GarbageKeeper()
    keeper.start()
    try:
        held = [Node() for _ in range(1000)]
        await eventually(lambda: gc.get_freeze_count() > len(held))
    finally:
        keeper.stop()
    assert gc.get_freeze_count() == 0
    keeper.stop()


async def test_cycles_that_were_frozen_are_found_in_the_end() -> None:
    keeper = GarbageKeeper()
    keeper.start()
    try:
        held = [Node() for _ in range(100)]
        await eventually(lambda: gc.get_freeze_count() > len(held))
        before = Node.gone
        held.clear()
        await eventually(lambda: Node.gone == before + 100, timeout_s=30)
    finally:
        keeper.stop()
