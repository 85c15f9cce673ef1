"""Which events a Trigger gets: its filters compiled to one function of an event's attributes.

A filter passes, fails, or has no opinion; only a failure keeps an event back. The original weighs the elements of
`any` and `all` by how often they decided, which makes a mix with *no opinion* depend on what came before; here such an
element counts as passed, wherever it stands (spec 8.4).

Source: spec eventing-broker.md 8.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

from eventing.filters.cesql import ParseError, compile_expression
from eventing.values import Value, to_text

__all__ = ["Attributes", "Matches", "compile_trigger"]

Attributes: TypeAlias = Mapping[str, Value]
"""An event's attributes that are set, by lower-case names; times, URIs and the like as text."""
Matches: TypeAlias = Callable[[Attributes], bool]
"""Whether a Trigger gets an event."""

_NO_TIME: Final = "0001-01-01T00:00:00Z"
"""What an event without a time is compared by."""
_ALWAYS_THERE: Final = frozenset(
    ["specversion", "type", "source", "subject", "id", "dataschema", "datacontenttype", "datacontentencoding"]
)
"""Attributes that read as the empty text when they are not set (spec 8.2)."""


class _Verdict(Enum):
    PASSED = "passed"
    FAILED = "failed"
    NO_OPINION = "no opinion"


_PASS: Final = _Verdict.PASSED
_FAIL: Final = _Verdict.FAILED
_NO_OPINION: Final = _Verdict.NO_OPINION
_Filter: TypeAlias = Callable[[Attributes], _Verdict]


def compile_trigger(
    filters: Sequence[Mapping[str, Any]] | None,
    legacy: Mapping[str, Any] | None,
    problem: Callable[[str], None],
) -> Matches:
    """Return what `spec.filters`, or else `spec.filter`, let through.

    `problem` is told of a part that cannot be used; it is passed over, as admission keeps such parts out (spec 8.6).
    """
    if filters:
        run = _all([_filter(each, problem) for each in filters])
    elif legacy is not None:
        run = _legacy(legacy.get("attributes"))
    else:
        return lambda attributes: True
    return lambda attributes: run(attributes) is not _FAIL


def _filter(spec: Mapping[str, Any], problem: Callable[[str], None]) -> _Filter:
    """Return one element. Of several dialects in it the first in this order counts."""
    for dialect, compare in (("exact", _is), ("prefix", _begins), ("suffix", _ends)):
        if spec.get(dialect):
            return _compared(spec[dialect], compare)
    for dialect, combine in (("all", _all), ("any", _any)):
        if spec.get(dialect):
            return combine([_filter(each, problem) for each in spec[dialect]])
    if spec.get("not"):
        return _not(_filter(spec["not"], problem))
    if spec.get("cesql"):
        return _cesql(spec["cesql"], problem)
    return _nothing


def _nothing(_attributes: Attributes) -> _Verdict:
    return _NO_OPINION


def _is(found: str, wanted: str) -> bool:
    return found == wanted


def _begins(found: str, wanted: str) -> bool:
    return found.startswith(wanted)


def _ends(found: str, wanted: str) -> bool:
    return found.endswith(wanted)


def _compared(wanted: Mapping[str, str], compare: Callable[[str, str], bool]) -> _Filter:
    """All entries have to compare well, as texts; with an empty value the filter is none (spec 8.4)."""
    if not all(wanted.values()):
        return _nothing
    if len(wanted) == 1:
        ((name, value),) = wanted.items()
        look_up = _look_up(name)

        def compare_one(attributes: Attributes) -> _Verdict:
            found = look_up(attributes)
            return _PASS if found is not None and compare(to_text(found), value) else _FAIL

        return compare_one
    return _all([_compared({name: value}, compare) for name, value in wanted.items()])


def _all(filters: Sequence[_Filter]) -> _Filter:
    if not filters:
        return _nothing
    if len(filters) == 1:
        return filters[0]

    def run(attributes: Attributes) -> _Verdict:
        verdict = _NO_OPINION
        for each in filters:
            found = each(attributes)
            if found is _FAIL:
                return _FAIL
            if found is _PASS:
                verdict = _PASS
        return verdict

    return run


def _any(filters: Sequence[_Filter]) -> _Filter:
    if not filters:
        return _nothing
    if len(filters) == 1:
        return filters[0]

    def run(attributes: Attributes) -> _Verdict:
        verdict = _FAIL
        for each in filters:
            found = each(attributes)
            if found is _PASS:
                return _PASS
            if found is _NO_OPINION:
                verdict = _NO_OPINION
        return verdict

    return run


def _not(run: _Filter) -> _Filter:
    def invert(attributes: Attributes) -> _Verdict:
        found = run(attributes)
        if found is _NO_OPINION:
            return found
        return _FAIL if found is _PASS else _PASS

    return invert


def _cesql(text: str, problem: Callable[[str], None]) -> _Filter:
    try:
        matches = compile_expression(text).matches
    except ParseError as error:
        problem(f"cesql {text[:128]!r}: {error}")
        return _nothing
    return lambda attributes: _PASS if matches(attributes) else _FAIL


def _legacy(wanted: Mapping[str, str] | None) -> _Filter:
    """`spec.filter.attributes`: equal natively, so that a number is no text; an empty text is for any (spec 8.3)."""
    if wanted is None:
        return _nothing
    entries = [(_look_up(name), value) for name, value in wanted.items()]

    def run(attributes: Attributes) -> _Verdict:
        for look_up, value in entries:
            found = look_up(attributes)
            if found is None or (found != value if value else found == ""):
                return _FAIL
        return _PASS

    return run


def _look_up(name: str) -> Callable[[Attributes], Value | None]:
    """Return what finds the value to compare for a filter's key; it returns None when there is none (spec 8.2)."""
    if name == "time":
        return lambda attributes: attributes.get("time", _NO_TIME)
    if name == "schemaurl":
        return lambda attributes: attributes.get("dataschema", "")
    if name == "datamediatype":
        return lambda attributes: str(attributes.get("datacontenttype", "")).partition(";")[0].strip()
    if name in _ALWAYS_THERE:
        return lambda attributes: attributes.get(name, "")
    return lambda attributes: attributes.get(name)
