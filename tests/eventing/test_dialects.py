"""Statements 69 to 82 of the broker's contract, and the edges that its section 8 names."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.filters.dialects import compile_trigger

EVENT = {"specversion": "1.0", "id": "7", "source": "/here", "type": "a.b.c", "foo": "bar", "number": 5, "flag": True}


def gets(spec: dict[str, Any], **attributes: Any) -> bool:
    """Whether a Trigger with this spec gets the event with these attributes changed; None takes one away."""
    problems: list[str] = []
    event = {name: value for name, value in (EVENT | attributes).items() if value is not None}
    found = compile_trigger(spec.get("filters"), spec.get("filter"), problems.append)(event)
    assert not problems
    return found


@pytest.mark.parametrize(
    ("spec", "is_wanted"),
    [
        pytest.param({}, True, id="69 no filter"),
        pytest.param({"filter": {"attributes": {"type": "a.b.c"}}}, True, id="70"),
        pytest.param({"filter": {"attributes": {"type": "A.B.C"}}}, False, id="70 case"),
        pytest.param({"filter": {"attributes": {"type": "a.b.c", "source": "/there"}}}, False, id="70 all entries"),
        pytest.param({"filter": {}}, True, id="8.3 no attributes"),
        pytest.param({"filter": {"attributes": {}}}, True, id="8.3 empty attributes"),
        pytest.param({"filter": {"attributes": {"foo": ""}}}, True, id="71"),
        pytest.param({"filter": {"attributes": {"missing": ""}}}, False, id="71 missing"),
        pytest.param({"filter": {"attributes": {"subject": ""}}}, False, id="71 empty"),
        pytest.param({"filter": {"attributes": {"number": "5"}}}, False, id="8.3 a number is no text"),
        pytest.param(
            {"filter": {"attributes": {"type": "x"}}, "filters": [{"exact": {"type": "a.b.c"}}]}, True, id="72"
        ),
        pytest.param({"filter": {"attributes": {"type": "x"}}, "filters": []}, False, id="8.4 an empty list"),
        pytest.param({"filters": [{"prefix": {"type": "a.", "source": "/h"}}]}, True, id="73"),
        pytest.param({"filters": [{"prefix": {"type": "a.", "source": "/x"}}]}, False, id="73 one of two"),
        pytest.param({"filters": [{"suffix": {"type": ".c", "source": "here"}}]}, True, id="73 suffix"),
        pytest.param({"filters": [{"exact": {"missing": "x"}}]}, False, id="74"),
        pytest.param({"filters": [{"not": {"exact": {"missing": "x"}}}]}, True, id="75"),
        pytest.param({"filters": [{"any": [{"exact": {"id": "1"}}, {"exact": {"id": "7"}}]}]}, True, id="76 any"),
        pytest.param(
            {"filters": [{"all": [{"exact": {"id": "1"}}, {"exact": {"type": "a.b.c"}}]}]}, False, id="76 all"
        ),
        pytest.param({"filters": [{}]}, True, id="77"),
        pytest.param({"filters": [{"not": {}}]}, True, id="77 not"),
        pytest.param({"filters": [{"not": {"any": []}}]}, True, id="8.4 not around nothing"),
        pytest.param({"filters": [{"not": {"all": [{"any": [{"exact": {"id": "1"}}]}]}}]}, True, id="78"),
        pytest.param({"filters": [{"any": [{"exact": {"id": "1"}}, {}]}]}, True, id="8.4 any with no opinion"),
        pytest.param({"filters": [{"any": [{}, {"exact": {"id": "1"}}]}]}, True, id="8.4 whichever comes first"),
        pytest.param({"filters": [{"cesql": "missing = 'a'"}]}, False, id="79"),
        pytest.param({"filters": [{"cesql": "NOT (missing = 'a')"}]}, False, id="79 negated"),
        pytest.param({"filters": [{"cesql": "EXISTS foo"}]}, True, id="80"),
        pytest.param({"filters": [{"cesql": "EXISTS missing"}]}, False, id="80 missing"),
        pytest.param({"filters": [{"cesql": "LENGTH(foo)"}]}, False, id="8.6 no boolean"),
        pytest.param({"filters": [{"exact": {"type": ""}}]}, True, id="82"),
        pytest.param({"filters": [{"exact": {"number": "5"}}, {"exact": {"flag": "true"}}]}, True, id="8.4 as text"),
        pytest.param({"filters": [{"prefix": {"subject": "a"}}]}, False, id="8.4 an unset attribute is empty"),
        pytest.param({"filters": [{"exact": {"id": "7"}, "cesql": "FALSE"}]}, True, id="8.4 the first dialect"),
        pytest.param({"filters": [{"exact": {"id": "7"}}, {"exact": {"source": "/x"}}]}, False, id="8.4 a list is all"),
    ],
)
def test_which_trigger_gets_the_event(spec: dict[str, Any], is_wanted: bool) -> None:
    assert gets(spec) is is_wanted


@pytest.mark.parametrize(
    ("name", "value", "attributes"),
    [
        ("time", "0001-01-01T00:00:00Z", {}),
        ("time", "2026-01-02T03:04:05Z", {"time": "2026-01-02T03:04:05Z"}),
        ("schemaurl", "http://schema", {"dataschema": "http://schema"}),
        ("datacontenttype", "text/plain; charset=x", {"datacontenttype": "text/plain; charset=x"}),
        ("datamediatype", "text/plain", {"datacontenttype": "text/plain; charset=x"}),
        ("specversion", "1.0", {}),
    ],
)
def test_what_a_filters_key_is_compared_with(name: str, value: str, attributes: dict[str, str]) -> None:
    assert gets({"filters": [{"exact": {name: value}}]}, **attributes)
    assert gets({"filter": {"attributes": {name: value}}}, **attributes)
    assert not gets({"filters": [{"exact": {name: value + "x"}}]}, **attributes)


def test_an_expression_that_is_none_is_told_and_passed_over() -> None:
    problems: list[str] = []
    assert compile_trigger([{"cesql": "type ="}, {"exact": {"id": "7"}}], None, problems.append)(EVENT)
    assert len(problems) == 1
    assert "type =" in problems[0]


leaves = st.sampled_from([({"exact": {"id": "7"}}, True), ({"exact": {"id": "8"}}, False), ({"cesql": "id = 7"}, True)])


@given(
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(
                lambda each: ({"all": [a for a, _ in each]}, all(b for _, b in each))
            ),
            st.lists(inner, min_size=1, max_size=3).map(
                lambda each: ({"any": [a for a, _ in each]}, any(b for _, b in each))
            ),
            inner.map(lambda each: ({"not": each[0]}, not each[1])),
        ),
        max_leaves=12,
    )
)
def test_nested_filters_are_boolean_logic(filter_and_value: tuple[dict[str, Any], bool]) -> None:
    spec, value = filter_and_value
    assert gets({"filters": [spec]}) is value
