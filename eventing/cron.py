"""When a PingSource fires: its dialect of cron, and the next moment after any other.

A schedule is six sets (second to weekday) and a time zone. It fires at every moment whose local time is in all of them,
so a local time that daylight saving skips does not fire and one that it repeats fires twice. Day of month and day of
week are alternatives when both are restricted.

The dialect is that of robfig/cron, with which PingSources are written, and no library for Python has it: seconds come
first and may be left out, a weekday 7, `@every`, `L`, `W` and `#` are errors, descending ranges too, while `?`,
`TZ=zone` in front and empty list members are taken.

Pure: times are Unix seconds. Source: spec eventing-sources.md 2.2.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["CronError", "Schedule", "UnknownZone", "parse"]

_NAMED: Final = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_ZONE: Final = re.compile(r"(?:CRON_)?TZ=(\S*)\s+(.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"\+?[0-9]{1,9}", re.ASCII)
_DAYS_AHEAD: Final = 5 * 366
"""What does not fire within five years, never does: 30 February."""


class CronError(ValueError):
    """The schedule cannot be read; says what was expected."""


class UnknownZone(CronError):
    """The schedule may be fine, its time zone is not."""


class _Field(NamedTuple):
    name: str
    least: int
    most: int
    words: tuple[str, ...] = ()
    """Names of the values from `least` on."""


_FIELDS: Final = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


class _Values(NamedTuple):
    values: frozenset[int]
    is_any: bool
    """Written as `*` or `?`, which restricts nothing."""


class Schedule:
    """A schedule that was read; immutable."""

    __slots__ = ("_days", "_hours", "_minutes", "_months", "_seconds", "_weekdays", "_zone")

    def __init__(self, fields: Iterable[_Values], zone: tzinfo) -> None:
        seconds, minutes, hours, self._days, months, self._weekdays = fields
        self._seconds, self._minutes, self._hours = seconds.values, minutes.values, hours.values
        self._months = months.values
        self._zone = zone

    def next_after(self, unix_s: float) -> int | None:
        """The first moment later than `unix_s` at which it fires; None if there is none in five years."""
        if not (self._seconds and self._minutes and self._hours and self._months):
            return None  # a list without members is taken, and never matches
        at = int(unix_s // 1) + 1
        end = at + _DAYS_AHEAD * 86400
        while at <= end:
            local = datetime.fromtimestamp(at, self._zone)
            if local.month not in self._months:
                at = self._midnight(local.replace(day=1) + timedelta(days=31), day=1)
            elif not self._has_day(local):
                at = self._midnight(local + timedelta(days=1))
            elif local.hour not in self._hours:
                at += 3600 - local.minute * 60 - local.second
            elif local.minute not in self._minutes:
                at += 60 - local.second
            elif local.second not in self._seconds:
                at += min((second for second in self._seconds if second > local.second), default=60) - local.second
            else:
                return at
        return None

    def _has_day(self, local: datetime) -> bool:
        by_month = local.day in self._days.values
        by_week = local.isoweekday() % 7 in self._weekdays.values
        if self._days.is_any or self._weekdays.is_any:
            return by_month and by_week
        return by_month or by_week

    def _midnight(self, local: datetime, day: int | None = None) -> int:
        """The beginning of a day; where midnight is skipped, the moment at which it is."""
        begin = datetime(local.year, local.month, day or local.day, tzinfo=self._zone)
        return int(begin.timestamp())


def parse(text: str, zone: str = "") -> Schedule:
    """Read a schedule; `zone` is an IANA name, else what stands in front of the schedule, else UTC.

    Raises `CronError`, and its subclass `UnknownZone`.
    """
    rest = text.strip()
    where: tzinfo = _zone(zone) if zone else UTC
    match = _ZONE.fullmatch(rest)
    if match is not None and not zone:
        where, rest = _zone(match[1]), match[2].strip()
    if rest.startswith("@"):
        if rest not in _NAMED:
            raise CronError(f"expected {', '.join(_NAMED)} or five or six fields, got {rest[:64]!r}")
        rest = _NAMED[rest]
    parts = rest.split()
    if len(parts) == len(_FIELDS) - 1:
        parts.insert(0, "0")
    if len(parts) != len(_FIELDS):
        raise CronError(f"expected five fields, or six with seconds first, got {len(parts)} in {text[:64]!r}")
    return Schedule([_read(part, field) for part, field in zip(parts, _FIELDS, strict=True)], where)


def _zone(name: str) -> tzinfo:
    if name in ("", "UTC", "Local"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZone(f"provided bad location {name[:64]}: expected an IANA time zone") from error


def _read(text: str, field: _Field) -> _Values:
    values: set[int] = set()
    is_any = False
    for member in text.split(","):
        if not member:
            continue
        span, slash, step_text = member.partition("/")
        low_text, dash, high_text = span.partition("-")
        step = _number(step_text, field) if slash else 1
        if step == 0:
            raise CronError(f"{field.name}: expected a step of 1 or more, got {member[:64]!r}")
        if low_text in ("*", "?"):
            low, high = field.least, field.most
            is_any = is_any or step == 1
        else:
            low = _value(low_text, field)
            high = _value(high_text, field) if dash else field.most if slash else low
        if low < field.least or high > field.most or low > high:
            raise CronError(
                f"{field.name}: expected {field.least} to {field.most}, the smaller one first, got {member[:64]!r}"
            )
        values.update(range(low, high + 1, step))
    return _Values(frozenset(values), is_any)


def _value(text: str, field: _Field) -> int:
    lower = text.lower()
    if lower in field.words:
        return field.words.index(lower) + field.least
    return _number(text, field)


def _number(text: str, field: _Field) -> int:
    if _NUMBER.fullmatch(text) is None:
        expected = "a number or a name of three letters" if field.words else "a number"
        raise CronError(f"{field.name}: expected {expected}, got {text[:64]!r}")
    return int(text)
