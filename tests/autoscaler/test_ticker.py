"""`autoscaler.ticker` on a real loop: every phase has its turn, once, however the loop is held up."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

import pytest

from autoscaler.multiscaler import PHASE_S, PHASES, MultiScaler, Outcome
from autoscaler.scraping import Scraping
from autoscaler.ticker import Ticker
from tests.support.processes import eventually

T0 = 1_785_542_400.0


class Turns:
    """Stands for both whom the ticker calls; remembers the phases and in which iteration of the loop they came."""

    def __init__(self, *, work: int = 0) -> None:
        self.decided: list[int] = []
        self.scraped: list[tuple[int, float]] = []
        self.wakes: list[float] = []
        self.work = work

    def decide_phase(self, phase: int, now_s: float) -> list[Outcome]:
        self.decided.append(phase)
        return []

    def start_phase(self, phase: int, due_s: float) -> None:
        self.scraped.append((phase, due_s))
        now_s = asyncio.get_running_loop().time()
        if not self.wakes or now_s > self.wakes[-1] + PHASE_S / 4:
            self.wakes.append(now_s)

    def count_in_phase(self, phase: int) -> int:
        return self.work

    def work_in_phase(self, phase: int) -> int:
        return self.work

    def ticker(self, announce: Callable[[Outcome], None] = lambda outcome: None) -> Ticker:
        both = cast("MultiScaler", self), cast("Scraping", self)
        return Ticker(*both, clock=lambda: T0, announce=announce)

    async def until(self, phase: int) -> None:
        await eventually(lambda: self.decided[-1:] >= [phase])


@pytest.mark.parametrize(("work", "wakes_most"), [(0, 7), (10, 23), (1000, 62)])
async def test_every_phase_has_its_turn_and_a_loop_with_little_to_do_is_seldom_woken(
    work: int, wakes_most: int
) -> None:
    turns = Turns(work=work)
    ticker = turns.ticker()
    ticker.start()
    await turns.until(60)
    ticker.stop()
    last = turns.decided[-1]
    assert turns.decided == list(range(1, last + 1))
    assert [phase for phase, _ in turns.scraped] == turns.decided
    assert [due_s for _, due_s in turns.scraped] == pytest.approx([T0 + phase * PHASE_S for phase in turns.decided])
    assert len([phase for phase in turns.wakes if phase <= turns.wakes[0] + 60 * PHASE_S]) <= wakes_most
    assert ticker.phase == last


async def test_after_a_stall_each_phase_of_one_tick_has_its_turn_once() -> None:
    turns = Turns(work=1000)
    ticker = turns.ticker()
    ticker.start()
    await turns.until(5)
    before = turns.decided[-1]
    time.sleep(2 * PHASES * PHASE_S)  # noqa: ASYNC251 - the stall itself
    await turns.until(before + 2 * PHASES)
    ticker.stop()
    missed = turns.decided[turns.decided.index(before) + 1 :]
    assert missed == list(range(missed[0], missed[-1] + 1))
    assert missed[0] >= before + PHASES
    assert len([phase for phase in missed if phase <= before + 2 * PHASES]) < 1.5 * PHASES


async def test_a_stopped_ticker_ticks_no_more() -> None:
    turns = Turns(work=1000)
    ticker = turns.ticker()
    ticker.start()
    await turns.until(3)
    ticker.stop()
    ticker.stop()
    handled = len(turns.decided)
    await asyncio.sleep(5 * PHASE_S)
    assert len(turns.decided) == handled


async def test_whatever_fails_in_a_tick_the_next_one_comes() -> None:
    turns = Turns()
    decide, told = turns.decide_phase, []

    def decide_or_fail(phase: int, now_s: float) -> list[Outcome]:
        decide(phase, now_s)
        if phase == 5:
            raise ValueError("cannot decide")
        return []

    turns.decide_phase = decide_or_fail  # type: ignore[method-assign]
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    ticker = turns.ticker()
    ticker.start()
    await turns.until(30)
    ticker.stop()
    assert [str(error) for error in told] == ["cannot decide"]
    assert turns.decided[:30] == list(range(1, 31))


@pytest.mark.parametrize("broken", ["decide_phase", "start_phase", "work_in_phase"])
async def test_no_failure_ends_the_ticking(broken: str) -> None:
    turns = Turns()
    told: list[object] = []
    works = getattr(turns, broken)

    def fail_at_first(*arguments: float) -> object:
        setattr(turns, broken, works)
        raise ValueError("a bug")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    ticker = turns.ticker()
    ticker.start()
    setattr(turns, broken, fail_at_first)
    await turns.until(30)
    ticker.stop()
    assert len(told) == 1
