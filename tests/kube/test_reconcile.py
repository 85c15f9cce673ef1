"""The work queue: nothing is lost, nothing runs twice at once, failures back off."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.errors import Conflict, TooManyRequests
from kube.reconcile import KeyQueue, Loop
from tests.support.processes import eventually


def test_a_key_added_twice_is_worked_on_once() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add("a")
    queue.add("a")
    assert queue.take(0.0) == "a"
    assert queue.take(0.0) is None


def test_a_key_added_while_it_is_worked_on_comes_back_afterwards() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add("a")
    assert queue.take(0.0) == "a"
    queue.add("a")
    assert queue.take(0.0) is None
    queue.done("a")
    assert queue.take(0.0) == "a"


def test_of_several_later_times_the_earliest_counts() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_at("a", 5.0)
    queue.add_at("a", 2.0)
    queue.add_at("a", 9.0)
    assert queue.take(1.9) is None
    assert queue.take(2.0) == "a"
    queue.done("a")
    assert queue.take(10.0) is None


def test_failures_back_off_from_5_ms_to_60_s_and_success_forgets_them() -> None:
    queue: KeyQueue[str] = KeyQueue()
    delays = [queue.retry_at("a", 0.0) for _ in range(20)]
    assert delays[:3] == [0.005, 0.01, 0.02]
    assert delays[-1] == 60.0
    queue.forget_failures("a")
    assert queue.retry_at("a", 0.0) == 0.005


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "done"]), st.sampled_from("abc")), max_size=60))
def test_no_key_is_ever_worked_on_twice_at_once_and_no_addition_is_lost(steps: list[tuple[str, str]]) -> None:
    queue: KeyQueue[str] = KeyQueue()
    working: set[str] = set()
    owed: set[str] = set()
    for step, key in steps:
        if step == "add":
            queue.add(key)
            owed.add(key)
        elif step == "take":
            taken = queue.take(0.0)
            if taken is not None:
                assert taken not in working
                working.add(taken)
                owed.discard(taken)
        elif key in working:
            working.discard(key)
            queue.done(key)
    for key in working:
        queue.done(key)
    left = set()
    while (taken := queue.take(0.0)) is not None:
        left.add(taken)
    assert owed <= left


async def test_a_conflict_is_retried_until_it_passes() -> None:
    tries: list[str] = []
    passed = asyncio.Event()

    async def reconcile(key: str) -> None:
        tries.append(key)
        if len(tries) < 3:
            raise Conflict(409, "Conflict", "stale")
        passed.set()

    loop = Loop("test", reconcile)
    loop.start()
    loop.add("a")
    await asyncio.wait_for(passed.wait(), 5)
    await loop.stop()
    assert tries == ["a", "a", "a"]


async def test_an_api_with_too_much_to_do_is_left_in_peace_for_as_long_as_it_says(
    capfd: pytest.CaptureFixture[str],
) -> None:
    now_s, tries = 0.0, list[str]()

    async def reconcile(key: str) -> None:
        tries.append(key)
        if len(tries) == 1:
            raise TooManyRequests(429, "TooManyRequests", "later", {"retryAfterSeconds": 7})

    loop = Loop("test", reconcile, clock=lambda: now_s)
    loop.start()
    loop.add("a")
    await eventually(lambda: tries == ["a"])
    now_s = 6.9
    loop.add("b")
    await eventually(lambda: tries == ["a", "b"])
    now_s = 7.0
    loop.add("c")
    await eventually(lambda: sorted(tries) == ["a", "a", "b", "c"])
    await loop.stop()
    assert capfd.readouterr().err == ""


async def test_a_reconcile_that_asks_for_it_is_called_again() -> None:
    times = 0
    twice = asyncio.Event()

    async def reconcile(_: str) -> float | None:
        nonlocal times
        times += 1
        if times == 2:
            twice.set()
            return None
        return 0.01

    loop = Loop("test", reconcile)
    loop.start()
    loop.add("a")
    await asyncio.wait_for(twice.wait(), 5)
    await loop.stop()


async def test_one_bad_key_is_logged_and_does_not_stop_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    done = asyncio.Event()

    async def reconcile(key: str) -> None:
        if key == "bad":
            raise RuntimeError("a bug")
        done.set()

    loop = Loop("test", reconcile, workers=1)
    loop.start()
    loop.add("bad")
    loop.add("good")
    await asyncio.wait_for(done.wait(), 5)
    await loop.stop()
    assert '"key": "bad"' in capfd.readouterr().err


async def test_a_loop_that_was_stopped_before_a_key_had_begun_works_on_it_when_it_starts_again() -> None:
    done = asyncio.Event()

    async def reconcile(_: str) -> None:
        done.set()

    loop = Loop("test", reconcile, workers=1)
    loop.add("a")
    loop.start()
    await loop.stop()
    assert not done.is_set()
    loop.add("a")
    loop.start()
    await asyncio.wait_for(done.wait(), 5)
    await loop.stop()


async def test_a_loop_that_forgets_keeps_no_keys_while_it_does_not_work() -> None:
    """A standby hears of objects that come and go for as long as it stands by."""
    worked: asyncio.Queue[str] = asyncio.Queue()
    loop = Loop("test", worked.put, forgets=True)
    for number in range(1000):
        loop.add(f"gone-{number}")
        loop.add_after(f"gone-{number}", 0.0)
    assert loop.depth == 0
    loop.start()
    loop.add("there")
    assert await worked.get() == "there"
    await loop.stop()
    loop.add("gone")
    assert (worked.qsize(), loop.depth) == (0, 0)
