"""`proxies/metrics/slices.py`: long work that lets others have their turn."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from proxies.metrics.slices import Steps, finish, run_in_slices


def counted(steps: int, *, done: list[int]) -> Steps[str]:
    for step in range(steps):
        done.append(step)
        yield
    return f"after {steps}"


def lasting(seconds: float) -> Steps[None]:
    """Work of that long."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        yield


@contextmanager
def caught(loop: asyncio.AbstractEventLoop) -> Iterator[list[dict[str, Any]]]:
    """What the loop's exception handler is told."""
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    loop.set_exception_handler(None)


def test_it_can_be_done_at_once() -> None:
    done: list[int] = []
    assert finish(counted(3, done=done)) == "after 3"
    assert done == [0, 1, 2]


async def test_short_work_is_done_at_once() -> None:
    results: list[str] = []
    loop = asyncio.get_running_loop()
    run_in_slices(loop, counted(3, done=[]), done=results.append, failed=lambda: results.append("failed"))
    assert results == ["after 3"]


async def test_long_work_lets_others_have_their_turn() -> None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    turns = 0

    def take_turn() -> None:
        nonlocal turns
        turns += 1
        if not ended.done():
            loop.call_soon(take_turn)

    loop.call_soon(take_turn)
    run_in_slices(loop, lasting(0.05), done=ended.set_result, failed=lambda: None)
    assert not ended.done()
    await ended
    # A slice is 2 ms; a machine that is too busy for two of them in 50 ms has stopped.
    assert turns > 1


@pytest.mark.parametrize("steps", [0, 1])
async def test_work_that_breaks_is_said_and_not_lost(steps: int) -> None:
    loop = asyncio.get_running_loop()
    failed = asyncio.Event()

    def breaking() -> Steps[None]:
        turn = asyncio.Event()
        loop.call_soon(turn.set)
        while steps and not turn.is_set():
            yield
        raise ZeroDivisionError

    with caught(loop) as contexts:
        if steps:
            run_in_slices(loop, breaking(), done=lambda _: None, failed=failed.set)
            await failed.wait()
            await asyncio.sleep(0)
            (context,) = contexts
            assert isinstance(context["exception"], ZeroDivisionError)
        else:
            with pytest.raises(ZeroDivisionError):
                run_in_slices(loop, breaking(), done=lambda _: None, failed=failed.set)
    assert failed.is_set()
