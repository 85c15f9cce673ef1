"""Which PingSources fire when, by a clock that is handed in (spec eventing-sources.md 2.3)."""

from hypothesis import given
from hypothesis import strategies as st

from eventing.cron import parse
from sources.timetable import Timetable

MINUTE = 60


def table(**schedules: str) -> Timetable[str]:
    found: Timetable[str] = Timetable()
    for key, text in schedules.items():
        found.set(key, parse(text), 0)
    return found


def test_an_entry_fires_at_its_moments_and_not_before() -> None:
    entries = table(a="* * * * *")
    assert entries.next_at() == MINUTE
    assert entries.due(59.999) == []
    assert entries.due(60.001) == ["a"]
    assert entries.due(60.002) == []
    assert entries.next_at() == 2 * MINUTE


def test_entries_fire_in_the_order_of_their_moments() -> None:
    assert table(late="30 * * * * *", early="10 * * * * *").due(45) == ["early", "late"]


def test_ticks_that_were_slept_through_fire_once() -> None:
    entries = table(a="*/10 * * * * *")
    assert entries.due(3605) == ["a"]
    assert entries.next_at() == 3610


def test_a_clock_that_is_set_back_does_not_hold_ticks_back() -> None:
    entries = table(a="*/10 * * * * *")
    assert entries.due(100_000) == ["a"]
    assert entries.due(50_005) == []
    assert entries.next_at() == 50_010


def test_a_clock_that_trembles_fires_nothing_twice() -> None:
    entries = table(a="*/10 * * * * *")
    assert entries.due(10.0) == ["a"]
    assert entries.due(9.9) == []
    assert entries.next_at() == 20


def test_replacing_an_entry_forgets_its_old_moments() -> None:
    entries = table(a="* * * * * *")
    entries.set("a", parse("0 0 * * *"), 30)
    assert entries.due(3600) == []
    assert entries.next_at() == 86400


def test_what_is_removed_does_not_fire() -> None:
    entries = table(a="* * * * *", b="* * * * *")
    entries.remove("a")
    entries.remove("never there")
    assert entries.due(60) == ["b"]
    entries.clear()
    assert entries.due(1000) == []
    assert entries.next_at() is None


def test_what_never_fires_does_no_harm() -> None:
    entries = table(never="0 0 30 2 *", a="* * * * *")
    assert entries.due(60) == ["a"]


def test_changing_schedules_for_ever_keeps_nothing() -> None:
    entries = table(a="* * * * *")
    for second in range(10_000):
        entries.set("a", parse("* * * * *"), second)
    assert len(entries._heap) < 200


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50))
def test_looked_at_often_enough_no_tick_is_lost_or_doubled(steps: list[int]) -> None:
    entries = table(a="*/10 * * * * *")
    now, fired = 0.0, 0
    for step in steps:
        now += step / 1000
        fired += len(entries.due(now))
    assert fired == int(now // 10)
