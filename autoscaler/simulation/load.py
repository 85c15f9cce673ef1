"""The load of a simulation: how many requests a second arrive, and how long each takes, over time.

Recorded loads are CSV files, whose values hold until the next row; the last row only says when it ends:

    time,rps,duration          time,concurrency
    0,0,100ms                  0,0
    30s,200,100ms              10,45
    2m,0,100ms                 60,45

Described loads are YAML files, whose phases follow each other; two values are a ramp:

    load:
    - {for: 30s, rps: 0}
    - {for: 1m, rps: [0, 500], duration: 250ms}

Times are seconds or durations as Go writes them. A load given as concurrency is turned into requests a second by their
duration (Little's law).
"""

import csv
import io
import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from proxies import gotext

__all__ = ["Load", "LoadError", "Offered", "Phase", "read_load", "seconds"]

DURATION_S = 0.1
"""How long a request takes where nothing is said."""
_SPAN_MAX_S = 7 * 86400.0


class LoadError(ValueError):
    """A load cannot be read; the text says where and what to write."""


class Offered(NamedTuple):
    """What arrives at one moment."""

    rps: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time in which the rate goes evenly from `begin_rps` to `end_rps`."""

    begin_s: float
    end_s: float
    begin_rps: float
    end_rps: float
    duration_s: float


class Load:
    """Phases that follow each other without a gap, from 0 on."""

    def __init__(self, phases: list[Phase]) -> None:
        self._phases = phases
        self._begins = [phase.begin_s for phase in phases]
        self.span_s = phases[-1].end_s
        """Length of the whole, in seconds."""

    def at(self, time_s: float) -> Offered:
        """Return what arrives at a moment; nothing before the begin and from the end on."""
        if not 0 <= time_s < self.span_s:
            return Offered(0.0, self._phases[-1].duration_s)
        phase = self._phases[bisect_right(self._begins, time_s) - 1]
        share = (time_s - phase.begin_s) / (phase.end_s - phase.begin_s)
        return Offered(phase.begin_rps + share * (phase.end_rps - phase.begin_rps), phase.duration_s)


def read_load(path: Path, *, duration_s: float = DURATION_S) -> Load:
    """Read a load from a file. `duration_s`: of requests, where the file says nothing. Raises `LoadError`."""
    try:
        text = path.read_text()
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: {error}") from error
    if path.suffix in (".yaml", ".yml"):
        return _described(path, text, duration_s)
    return _recorded(path, text, duration_s)


def seconds(text: object) -> float:
    """Return a time given as a number of seconds or as a duration. Raises `ValueError`."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        value = float(text)
    else:
        try:
            value = float(str(text))
        except ValueError:
            value = gotext.parse_duration_s(str(text))
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"expected a time from 0 on, got {text!r}")
    return value


def _recorded(path: Path, text: str, duration_s: float) -> Load:
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    names = rows.fieldnames or []
    rate = [name for name in names if name in ("rps", "concurrency")]
    if "time" not in names or len(rate) != 1:
        raise LoadError(f"{path}:1: expected the columns time, one of rps and concurrency, and optionally duration, "
                        f"got {', '.join(names) or 'nothing'}")  # fmt: skip
    points: list[tuple[float, Offered]] = []
    for row in rows:
        where = f"{path}:{rows.line_num}"
        time_s = _value(where, "time", row["time"])
        lasting_s = _value(where, "duration", row["duration"]) if row.get("duration") else duration_s
        amount = _amount(where, rate[0], row[rate[0]])
        if points and time_s <= points[-1][0]:
            raise LoadError(f"{where}: expected a time after {points[-1][0]:g} s, got {time_s:g} s")
        points.append((time_s, _offered(where, rate[0], amount, lasting_s)))
    if len(points) < 2:
        raise LoadError(f"{path}: expected two rows or more: the last one says when the load ends")
    begin_s = points[0][0]
    phases = [
        Phase(time_s - begin_s, next_s - begin_s, offered.rps, offered.rps, offered.duration_s)
        for (time_s, offered), (next_s, _) in pairwise(points)
    ]
    return _bounded(path, Load(phases))


def _described(path: Path, text: str, duration_s: float) -> Load:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise LoadError(f"{path}: {error}") from error
    described = document.get("load") if isinstance(document, dict) else None
    if not isinstance(described, list) or not described:
        raise LoadError(f"{path}: expected a list of phases under the key load")
    phases: list[Phase] = []
    begin_s = 0.0
    for index, each in enumerate(described):
        phase = _phase(f"{path}: load[{index}]", each, begin_s, duration_s)
        phases.append(phase)
        begin_s = phase.end_s
    return _bounded(path, Load(phases))


def _phase(where: str, each: Any, begin_s: float, duration_s: float) -> Phase:
    if not isinstance(each, dict):
        raise LoadError(f"{where}: expected keys and values, got {each!r}")
    unknown = set(each) - {"for", "rps", "concurrency", "duration"}
    if unknown:
        raise LoadError(f"{where}: unknown key {min(unknown)}")
    rate = [name for name in ("rps", "concurrency") if name in each]
    if "for" not in each or len(rate) != 1:
        raise LoadError(f"{where}: expected the key for, and one of rps and concurrency")
    lasting_s = _value(where, "duration", each["duration"]) if "duration" in each else duration_s
    values = each[rate[0]] if isinstance(each[rate[0]], list) else [each[rate[0]]]
    if len(values) not in (1, 2):
        raise LoadError(f"{where}: {rate[0]}: expected one value, or two for a ramp")
    ends = [_offered(where, rate[0], _amount(where, rate[0], value), lasting_s) for value in values]
    span_s = _value(where, "for", each["for"])
    if span_s <= 0:
        raise LoadError(f"{where}: for: expected more than 0 s")
    return Phase(begin_s, begin_s + span_s, ends[0].rps, ends[-1].rps, lasting_s)


def _offered(where: str, name: str, amount: float, duration_s: float) -> Offered:
    if duration_s <= 0:
        raise LoadError(f"{where}: duration: expected more than 0 s")
    return Offered(amount if name == "rps" else amount / duration_s, duration_s)


def _amount(where: str, name: str, value: object) -> float:
    """Requests, or requests a second: a number, no duration."""
    try:
        amount = float(str(value))  # not of True, which float() takes for 1
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise LoadError(f"{where}: {name}: expected a number from 0 on, got {value!r}")
    return amount


def _value(where: str, name: str, text: object) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise LoadError(f"{where}: {name}: {error}") from error


def _bounded(path: Path, load: Load) -> Load:
    if load.span_s > _SPAN_MAX_S:
        raise LoadError(f"{path}: expected a load of at most a week, got {load.span_s:g} s")
    return load
