"""PingSource's cron: what is read, what is refused, and when it fires (spec eventing-sources.md 2.2)."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from eventing.cron import CronError, UnknownZone, parse

NEW_YORK = ZoneInfo("America/New_York")


def unix(text: str, zone: ZoneInfo | None = None) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone or UTC).timestamp())


def firings(schedule: str, after: int, count: int, zone: str = "") -> list[int]:
    read = parse(schedule, zone)
    found: list[int] = []
    for _ in range(count):
        following = read.next_after(found[-1] if found else after)
        assert following is not None
        found.append(following)
    return found


@pytest.mark.parametrize(
    "text",
    [
        *(
            "* * * * *",
            "0 * * * * *",
            "@hourly",
            "@midnight",
            "@annually",
            "*/5 * * * *",
            "1-5,8 * * * *",
            "5/20 * * * *",
        ),
        *(
            "? ? ? ? ?",
            "* * * JAN-mar Sun,6",
            "1,,2 * * * *",
            "TZ=Europe/Paris * * * * *",
            "CRON_TZ=UTC @daily",
            "*/1 * * * *",
        ),
    ],
)
def test_a_schedule_that_is_fine_is_read(text: str) -> None:
    assert parse(text).next_after(0) is not None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "* * * *",
            "* * * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 7",
        ),
        *(
            "@every 5s",
            "@fortnightly",
            "@Hourly",
            "5-1 * * * *",
            "*/0 * * * *",
            "1-2-3 * * * *",
            "1/2/3 * * * *",
            "-1 * * * *",
        ),
        *(
            "L * * * *",
            "* * L * *",
            "* * 1W * *",
            "* * * * 1#2",
            "* * * * fri-mon",
            "x * * * *",
            "1.5 * * * *",
            "٣ * * * *",
        ),
        *("H * * * *", "1- * * * *", "* * * * sunday"),
    ],
)
def test_a_schedule_that_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(CronError):
        parse(text)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "America", "/etc/localtime", "a\0b"])
def test_an_unknown_zone_is_told_apart(zone: str) -> None:
    with pytest.raises(UnknownZone):
        parse("* * * * *", zone)


def test_a_zone_in_the_schedule_does_not_go_with_one_beside_it() -> None:
    with pytest.raises(CronError) as refused:
        parse("TZ=UTC * * * * *", "Europe/Paris")
    assert not isinstance(refused.value, UnknownZone)


def test_seconds_come_first_and_are_0_when_left_out() -> None:
    start = unix("2026-01-01T00:00:00")
    assert firings("*/10 * * * * *", start, 3) == [start + 10, start + 20, start + 30]
    assert firings("* * * * *", start, 2) == [start + 60, start + 120]


def test_days_of_month_and_of_week_are_alternatives_when_both_are_restricted() -> None:
    days = [datetime.fromtimestamp(at, UTC).day for at in firings("0 0 1 * 1", unix("2026-01-01T00:00:00"), 5)]
    assert days == [5, 12, 19, 26, 1]  # Mondays, and the first of February


def test_a_step_restricts_only_when_it_is_two_or_more() -> None:
    start = unix("2026-01-01T00:00:00")
    assert datetime.fromtimestamp(firings("0 0 */1 * 1", start, 1)[0], UTC).day == 5
    assert datetime.fromtimestamp(firings("0 0 */2 * 1", start, 1)[0], UTC).day == 3


def test_a_local_time_that_is_skipped_does_not_fire() -> None:
    after = unix("2026-03-07T12:00:00", NEW_YORK)
    assert firings("30 2 * * *", after, 1, "America/New_York") == [unix("2026-03-09T02:30:00", NEW_YORK)]


def test_a_local_time_that_is_repeated_fires_twice() -> None:
    first = unix("2026-11-01T01:30:00", NEW_YORK)
    assert firings("30 1 * * *", first - 7200, 2, "America/New_York") == [first, first + 3600]


def test_a_midnight_that_is_skipped_is_passed_over() -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    after = unix("2018-11-03T12:00:00", zone)
    assert firings("0 0 * * *", after, 1, zone.key) == [unix("2018-11-05T00:00:00", zone)]


def test_what_never_fires_has_no_next_moment() -> None:
    assert parse("0 0 30 2 *").next_after(0) is None
    assert parse(", * * * *").next_after(0) is None


def fields(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    # croniter takes a range of a single value, such as 2-2, for all values.
    span = st.lists(number, min_size=2, max_size=2, unique=True).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(
        st.just("*"),
        st.lists(st.one_of(number.map(str), span), min_size=1, max_size=3).map(",".join),
        st.tuples(st.one_of(st.just("*"), span), st.integers(2, 20)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    )


@given(
    st.tuples(fields(0, 59), fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), st.just("*")),
    st.integers(0, 4_000_000_000),
)
def test_where_the_dialects_agree_croniter_names_the_same_moment(parts: tuple[str, ...], after: int) -> None:
    text = " ".join(parts)
    start = datetime.fromtimestamp(after, UTC)
    expected = int(croniter(text, start, second_at_beginning=True).get_next(datetime).timestamp())
    assert parse(text).next_after(after) == expected


@given(
    st.tuples(fields(0, 59), fields(0, 23)),
    st.sampled_from(["America/New_York", "Australia/Lord_Howe", "America/Havana", "Europe/Dublin"]),
    st.integers(0, 365 * 24),
)
def test_it_fires_in_every_minute_whose_local_time_matches(parts: tuple[str, str], zone: str, hours_in: int) -> None:
    schedule, where = parse(f"{parts[0]} {parts[1]} * * *", zone), ZoneInfo(zone)
    only = [set(range(60)), set(range(24))]
    wanted = [matching(part, all_) for part, all_ in zip(parts, only, strict=True)]
    after = unix("2026-01-01T00:00:00") + hours_in * 3600
    found = schedule.next_after(after)
    at = after + 60
    while (local := datetime.fromtimestamp(at, where)).minute not in wanted[0] or local.hour not in wanted[1]:
        at += 60
    assert found == at


def matching(part: str, values: set[int]) -> set[int]:
    """What a field of the forms above stands for, worked out naively."""
    if part == "*":
        return values
    found = set()
    for member in part.split(","):
        span, _, step = member.partition("/")
        low, _, high = (f"{min(values)}-{max(values)}" if span == "*" else span).partition("-")
        found |= set(range(int(low), int(high or low) + 1, int(step or 1)))
    return found


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        schedule = parse(text)
    except CronError:
        return
    schedule.next_after(0)
