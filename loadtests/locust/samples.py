"""Every request of a run as a line of CSV, so that figures need not be taken from rounded histograms."""

import csv
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Row", "Sample", "Writer", "read_samples", "rows", "write_tables"]

_KEPT_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Sample:
    """One request."""

    due_s: float
    """When it should have begun, by the machine's monotonic clock."""
    name: str
    ms: float
    problem: str
    """Why it failed; empty when it did not."""


class Writer:
    """Appends to a file, in whole lines, so that several processes may write to the same one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._kept: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Take note; written with those that follow, or by `flush`."""
        self._kept.append(sample)
        if len(self._kept) >= _KEPT_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        lines = [f"{s.due_s:.6f},{_quoted(s.name)},{s.ms:.3f},{_quoted(s.problem)}\n" for s in self._kept]
        self._kept.clear()
        data = memoryview("".join(lines).encode())
        while data:
            data = data[os.write(self._file, data) :]


def _quoted(text: str) -> str:
    plain = " ".join(text.split()).replace('"', '""')
    return f'"{plain}"'


def read_samples(path: Path) -> list[Sample]:
    """All of them, in the order in which they were due; none when nothing was written."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        found = [Sample(float(due_s), name, float(ms), problem) for due_s, name, ms, problem in csv.reader(file)]
    return sorted(found, key=lambda sample: sample.due_s)


@dataclass(frozen=True, slots=True)
class Row:
    """What the requests of one name have in common. Times are those of requests that did not fail, in milliseconds."""

    name: str
    count: int
    failed: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def rows(samples: Iterable[Sample]) -> list[Row]:
    """One for each name, in the order in which they first came."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    return [_row(name, found) for name, found in by_name.items()]


def _row(name: str, samples: list[Sample]) -> Row:
    times = sorted(sample.ms for sample in samples if not sample.problem) or [0.0]
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    failed = sum(1 for sample in samples if sample.problem)
    return Row(name, len(samples), failed, cuts[49], cuts[94], cuts[98], times[-1])


def write_tables(folder: Path, name: str, samples: Iterable[Sample], table: Iterable[Row]) -> list[str]:
    """Write what was measured for spreadsheets; the names of the files: the table, and each request.

    Times of requests are seconds since the first was due.
    """
    samples = list(samples)
    began_s = samples[0].due_s if samples else 0.0
    requests = ((f"{s.due_s - began_s:.6f}", s.name, f"{s.ms:.3f}", s.problem) for s in samples)
    figures = (
        (r.name, r.count, r.failed, *(f"{ms:.3f}" for ms in (r.p50_ms, r.p95_ms, r.p99_ms, r.max_ms))) for r in table
    )
    files: list[tuple[str, tuple[str, ...], Iterable[tuple[object, ...]]]] = [
        (f"{name}.csv", ("what", "requests", "failed", "p50_ms", "p95_ms", "p99_ms", "max_ms"), figures),
        (f"{name}-requests.csv", ("due_s", "what", "ms", "problem"), requests),
    ]
    for file, head, lines in files:
        with (folder / file).open("w", newline="") as output:
            writer = csv.writer(output)
            writer.writerow(head)
            writer.writerows(lines)
    return [file for file, _, _ in files]
