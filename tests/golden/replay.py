"""What every golden test uses: the entries of one set, compared number for number, and a count of those that match.

A test reads

    def test_windows(golden: Golden) -> None:
        with golden("windows") as vectors:
            vectors.each("cases", check_case)

where `check_case(entry)` replays one entry and calls `same(got, want, what)`. Every list of the file must be replayed,
so that a file which grows a list fails until someone replays it. The format is described in `tests/golden/README.md`.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import pytest

__all__ = ["Golden", "Vectors", "number", "same"]

Golden: TypeAlias = "Callable[..., Vectors]"
"""The fixture's type: `golden(set_name, later={list: reason})`."""

_FAILURES_SHOWN = 5
_NOT_FINITE = {"NaN": math.nan, "+Inf": math.inf, "-Inf": -math.inf}


class Vectors:
    """One set. Used as a context manager: leaving it fails the test when any entry differed."""

    def __init__(self, path: Path, *, later: Mapping[str, str], report: Callable[[str], None]) -> None:
        self.name = path.stem
        self.data: dict[str, Any] = json.loads(path.read_text())
        self._later = dict(later)
        self._report = report
        self._replayed: set[str] = set()
        self._matched = 0
        self._total = 0
        self._failures: list[str] = []

    def each(self, entries: str, check: Callable[[Any], None]) -> None:
        """Call `check` with every entry of the list named `entries`; one that raises counts as a difference."""
        self._replayed.add(entries)
        for index, entry in enumerate(self.data[entries]):
            self._total += 1
            try:
                check(entry)
            except Exception as error:  # noqa: BLE001 - whatever stops an entry, it does not match; the rest still counts
                label = entry.get("id", index) if isinstance(entry, dict) else index
                self._failures.append(f"{self.name}.{entries}[{label}]: {type(error).__name__}: {error}")
            else:
                self._matched += 1

    def __enter__(self) -> "Vectors":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        self._report(f"{self.name}: {self._matched}/{self._total}")
        lists = {key for key, value in self.data.items() if isinstance(value, list)}
        left_out = sorted(lists - self._replayed - set(self._later))
        assert not left_out, f"{self.name}: nothing replays {', '.join(left_out)}"
        shown = "\n".join(self._failures[:_FAILURES_SHOWN])
        assert not self._failures, f"{self._matched}/{self._total} match; the first differences:\n{shown}"


def same(got: object, want: object, what: str, *, relative: float = 1e-9, absolute: float = 0.0) -> None:
    """Assert equality: floats within the tolerance, everything else exactly, containers element by element."""
    want = _NOT_FINITE.get(want, want) if isinstance(want, str) and isinstance(got, int | float) else want
    if isinstance(got, bool) or isinstance(want, bool) or not (_is_number(got) and _is_number(want)):
        if isinstance(got, list | tuple) and isinstance(want, list | tuple):
            assert len(got) == len(want), f"{what}: got {got!r}, expected {want!r}"
            for index, (left, right) in enumerate(zip(got, want, strict=True)):
                same(left, right, f"{what}[{index}]", relative=relative, absolute=absolute)
            return
        if isinstance(got, dict) and isinstance(want, dict):
            assert got.keys() == want.keys(), f"{what}: got keys {sorted(got)}, expected {sorted(want)}"
            for key in want:
                same(got[key], want[key], f"{what}.{key}", relative=relative, absolute=absolute)
            return
        assert type(got) is type(want), f"{what}: got {got!r}, expected {want!r}"
        assert got == want, f"{what}: got {got!r}, expected {want!r}"
        return
    assert isinstance(got, int | float)
    assert isinstance(want, int | float)
    equal = got == want if isinstance(got, int) and isinstance(want, int) else _close(got, want, relative, absolute)
    assert equal, f"{what}: got {got!r}, expected {want!r}"


def number(value: float | str) -> float:
    """A number of a vector, where `"NaN"`, `"+Inf"` and `"-Inf"` stand for what JSON cannot say."""
    return _NOT_FINITE[value] if isinstance(value, str) else value


def load(
    directory: Path, name: str, *, later: Mapping[str, str], report: Callable[[str], None], required: bool
) -> Vectors:
    """Return the set `name` of `directory`; skip the test where it is not there and not `required`."""
    path = directory / f"{name}.json"
    if not path.exists() and not required:
        pytest.skip(f"no {name}.json in {directory}")
    return Vectors(path, later=later, report=report)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _close(got: float, want: float, relative: float, absolute: float) -> bool:
    if math.isnan(want):
        return math.isnan(got)
    return math.isclose(got, want, rel_tol=relative, abs_tol=absolute)
