"""`proxies/timers.py`: each timer is woken once, not before its time and at most a slot after it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.timers import SLOT_S, Timer, Timers, Wheel

OPS = st.lists(
    st.tuples(st.sampled_from(["arm", "disarm", "pass"]), st.integers(0, 3), st.floats(0, 5, allow_nan=False)),
    max_size=40,
)


@given(OPS)
def test_every_timer_wakes_in_its_time(ops: list[tuple[str, int, float]]) -> None:
    wheel, timers, now_s = Wheel(), [Timer() for _ in range(4)], 1000.0
    due: dict[int, float] = {}
    for op, which, amount in ops:
        if op == "arm":
            due[which] = now_s + amount
            wheel.arm(timers[which], due[which])
        elif op == "disarm":
            due.pop(which, None)
            wheel.disarm(timers[which])
        else:
            now_s += amount
            woken = {timers.index(timer) for timer in wheel.expire(now_s)}
            assert {key for key, due_s in due.items() if due_s <= now_s - SLOT_S - 1e-9} <= woken
            assert all(due[key] <= now_s for key in woken)
            for key in woken:
                del due[key]
        if due:
            assert wheel.next_s is not None
            assert wheel.next_s <= min(due.values()) + SLOT_S + 1e-9


def test_a_timer_armed_again_for_later_wakes_then_and_not_before() -> None:
    wheel, timer = Wheel(), Timer()
    wheel.arm(timer, 1.0)
    assert not wheel.arm(timer, 2.0)
    assert wheel.expire(1.5) == []
    assert wheel.expire(2.1) == [timer]
    assert wheel.expire(10.0) == []
    assert wheel.next_s is None


async def test_the_loop_wakes_timers_in_order_and_idles_without_them() -> None:
    woken: list[str] = []
    done = asyncio.Event()

    class Named(Timer):
        __slots__ = ("name",)

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def on_timer(self, now_s: float) -> None:
            assert self.due_s <= now_s
            woken.append(self.name)
            if self.name == "last":
                done.set()

    timers = Timers(asyncio.get_running_loop())
    now_s = timers.now_s()
    kept = {name: Named(name) for name in ("last", "second", "first", "never")}
    timers.arm(kept["last"], now_s + 0.06)
    timers.arm(kept["second"], now_s + 0.03)
    timers.arm(kept["first"], now_s + 0.01)
    timers.arm(kept["never"], now_s + 0.02)
    timers.disarm(kept["never"])
    async with asyncio.timeout(5):
        await done.wait()
    assert woken == ["first", "second", "last"]
    timers.close()


def test_a_bare_timer_is_not_meant_to_be_woken() -> None:
    with pytest.raises(NotImplementedError):
        Timer().on_timer(0.0)
