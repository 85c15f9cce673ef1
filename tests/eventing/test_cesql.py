"""CESQL: the public vectors, and what they leave open."""

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eventing.filters.cesql import ErrorKind, ParseError, compile_expression

VECTORS = Path(__file__).parents[3] / "shared" / "conformance" / "cesql-tck"
EVENT = {"specversion": "1.0", "id": "1", "source": "http://localhost/source", "type": "any.type"}


def cases() -> list[Any]:
    found = []
    for path in sorted(VECTORS.glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        found += [pytest.param(each, id=f"{path.stem}: {each['name']}") for each in content["tests"]]
    return found


def plain(value: Any) -> Any:
    """A value as CESQL has it."""
    return value.isoformat() if isinstance(value, datetime.datetime) else value


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the public vectors are not beside the project")
@pytest.mark.parametrize("case", cases())
def test_public_vectors(case: dict[str, Any]) -> None:
    given_event = case.get("event", EVENT) | (case.get("eventOverrides") or {})
    attributes = {name.lower(): plain(value) for name, value in given_event.items()}
    text = str(case["expression"]).lower() if isinstance(case["expression"], bool | int) else case["expression"]
    try:
        value, error = compile_expression(text).evaluate(attributes)
    except ParseError:
        assert case.get("error") == "parse"
        return
    assert (error.kind.value if error else None) == case.get("error")
    if "result" in case:
        assert value == plain(case["result"])
        assert type(value) is type(plain(case["result"]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("TRUE OR FALSE AND FALSE", True),
        ("FALSE AND FALSE OR TRUE", False),  # from the right: FALSE AND (FALSE OR TRUE)
        ("NOT TRUE = FALSE", True),
        ("1 + 2 * 3 = 7", True),
        ("10 - 2 - 3", 5),
        ("4-1", 3),
        ("2147483647 + 1", -2147483648),
        ("-2147483648 / -1", -2147483648),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("LENGTH('h\u00e9')", 3),
        ("LEFT('h\u00e9', 3) = 'h\u00e9'", True),
        ("IS_INT('12') AND NOT IS_INT('x') AND IS_BOOL('True')", True),
        ("'a' LIKE 'a%%%%'", True),
        ("'a\nb' LIKE 'a%b'", True),
        ("'xaxbxcx' LIKE '%a%b%c%'", True),
        ("'abab' LIKE '%ab'", True),
        ("'ab' LIKE '%abab'", False),
        ("'a.c' LIKE 'a.c' AND 'abc' NOT LIKE 'a.c'", True),
        ("'it''s' = 'it\\'s'", True),
        ("SuBject = 'x' oR tRuE", False),  # SUBJECT is missing
        ("EXISTS ID", True),
        ("'1' IN ('x', 1)", True),
    ],
)
def test_what_the_vectors_leave_open(text: str, value: Any) -> None:
    assert compile_expression(text).evaluate(EVENT)[0] == value


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "got the end at 0"),
        ("1 +", "got the end at 3"),
        ("a b", "got 'b' at 2"),
        ("(1", "expected ')', got the end"),
        ("1 IN ()", "got ')' at 6"),
        ("a LIKE b", "a string behind LIKE"),
        ("a NOT b", "LIKE or IN behind NOT"),
        ("EXISTS 1", "an attribute behind EXISTS"),
        ("a_b = 1", "letters and digits"),
        ("2147483648", "32 bits"),
        ("'open", "at 0"),
        ("a # b", "at 2"),
        ("(" * 200 + "1" + ")" * 200, "at most 100"),
        ("NOT " * 200 + "TRUE", "at most 100"),
        ("1" + "+1" * 20_000, "at most 16384 characters"),
    ],
)
def test_what_is_no_expression_is_refused_and_the_place_named(text: str, where: str) -> None:
    with pytest.raises(ParseError) as raised:
        compile_expression(text)
    assert where in str(raised.value)


def test_an_error_never_matches_even_where_the_value_is_true() -> None:
    expression = compile_expression("NOT 10")
    value, error = expression.evaluate(EVENT)
    assert value is True
    assert error is not None
    assert error.kind is ErrorKind.CAST
    assert not expression.matches(EVENT)
    assert not compile_expression("NOT (missing = 'a')").matches(EVENT)
    assert not compile_expression("1").matches(EVENT)


def test_a_pattern_of_many_wildcards_costs_no_time() -> None:
    text = "%a" * 2000 + "b"
    assert not compile_expression(f"long LIKE '{text}'").matches({"long": "a" * 20_000})


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        expression = compile_expression(text)
    except ParseError:
        return
    expression.evaluate(EVENT)


@given(st.text(alphabet="ab%_\\.", max_size=8), st.text(alphabet="ab%_\\.", max_size=8))
def test_like_agrees_with_a_plain_matcher(text: str, pattern: str) -> None:
    def like(at: int, position: int) -> bool:
        if position == len(pattern):
            return at == len(text)
        character = pattern[position]
        if character == "\\" and pattern[position + 1 : position + 2] in ("%", "_") and position + 1 < len(pattern):
            return text[at : at + 1] == pattern[position + 1] and like(at + 1, position + 2)
        if character == "%":
            return any(like(end, position + 1) for end in range(at, len(text) + 1))
        return at < len(text) and (character in ("_", text[at])) and like(at + 1, position + 1)

    if pattern.endswith("\\"):
        return  # a quote behind it would be a part of the literal
    assert compile_expression(f"x LIKE '{pattern}'").matches({"x": text}) is like(0, 0)
