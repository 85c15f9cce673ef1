"""`proxies/gotemplate/`: the language itself.

What Go's own engine prints is replayed in `tests/queue_proxy/test_logged_request.py`.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.gotemplate.template import RenderError, Template, TemplateError
from proxies.gotemplate.values import Map, Record


class Words(Map):
    go_methods: ClassVar[dict[str, Callable[[Any, str], object]]] = {"Get": lambda words, name: words.get(name, "")}


class Data(Record):
    go_type = "main.Data"
    go_fields: ClassVar[dict[str, Callable[[Any], object]]] = {
        "Name": lambda data: "é<b>",
        "Count": lambda data: 3,
        "Share": lambda data: 0.25,
        "IsOn": lambda data: True,
        "List": lambda data: ["x", "y"],
        "Words": lambda data: Words(b="2", a="1"),
        "Nothing": lambda data: None,
        "Self": lambda data: data,
        "Raw": lambda data: b"\xff".decode("utf-8", "surrogateescape"),
    }
    go_methods: ClassVar[dict[str, Callable[[Any, str], object]]] = {"Greet": lambda data, name: f"hello {name}"}


def render(text: str) -> str:
    return Template(text).render(Data())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain }} text", "plain }} text"),
        ("{{.Name}} {{.Count}} {{.Share}} {{.IsOn}}", "é<b> 3 0.25 true"),
        ("{{.List}} {{.Words}} {{.Nothing}}", "[x y] map[a:1 b:2] <no value>"),
        ("{{.Self.Self.Name | js | printf `%q`}}", r'"é\\u003Cb\\u003E"'),
        ("{{.Greet `x`}} {{`y` | .Self.Greet}}", "hello x hello y"),
        ("{{.Words.a}}{{.Words.Get `b`}}{{.Words.c}}", "12<no value>"),
        ("a {{- /* gone */ -}} b  {{- 3 -}}  c", "ab3c"),
        ("{{with .List}}{{index . 1}}{{$.Count}}{{end}}", "y3"),
        ("{{range $i, $e := .List}}{{$i}}{{$e}}{{else}}none{{end}}", "0x1y"),
        ("{{range $e := .Nothing}}{{$e}}{{else}}none{{end}}", "none"),
        ("{{$n := 1}}{{range .List}}{{$n = .}}{{end}}{{$n}}", "y"),
        ("{{if .Nothing}}a{{else if eq .Count 2 3}}b{{else}}c{{end}}", "b"),
        ("{{with .Nothing}}a{{else with .Count}}{{.}}{{end}}", "3"),
        ("{{and .Nothing (index .List 9)}}{{or .Count (index .List 9)}}", "<no value>3"),
    ],
)
def test_what_the_language_has(text: str, expected: str) -> None:
    assert render(text) == expected


def test_bytes_that_are_no_text_come_out_as_they_were() -> None:
    assert render("{{.Raw}}{{js .Raw}}").encode("utf-8", "surrogateescape") == b"\xff\xff"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\nb {{.Name", "line 2, column 3: expected }} at the end of the action"),
        ("{{.Name | nofunc}}", "line 1, column 11: nofunc is no function"),
        ("{{template `x`}}", "line 1, column 3: template is not supported"),
        ("{{if .Name}}x", "line 1, column 3: expected an end to this if, and one else at most"),
        ("{{range .List}}x{{else}}y{{else}}z{{end}}", "line 1, column 3: expected an end to this range, and one else"),
        ("{{end}}", "line 1, column 3: expected an if, with or range before this end"),
        ("{{with 1}}{{$x := 2}}{{end}}{{$x}}", "line 1, column 31: $x is not declared"),
        ("{{if 1}}{{$x := 2}}{{else}}{{$x}}{{end}}", "line 1, column 30: $x is not declared"),
        ("{{(.Name}}", "line 1, column 3: expected a ) to this ("),
        ("{{.Name `x}}", "line 1, column 9: expected ` at the end of the constant"),
        ("{{`x`.Name}}", "line 1, column 6: x has no fields"),
        ("{{print `a``b`}}", "line 1, column 12: expected a space before b"),
        ("{{1 | 2}}", "line 1, column 7: 2 takes no arguments"),
        ("{{nil}}", "line 1, column 3: nil is no command"),
        ("{{}}", "line 1, column 1: expected a command"),
        ("{{/* x }}", "line 1, column 1: expected a comment"),
        ("{{print 'ab'}}", "line 1, column 9: expected one character"),
        ("{{print 9999999999999999999}}", "line 1, column 9: expected a number of 64 bits"),
        ('{{"\\q"}}', "line 1, column 3: expected an escape sequence"),
        ("{{" + "(" * 60 + "1" + ")" * 60 + "}}", "line 1, column 53: expected at most 50 blocks and parentheses"),
        ("x" * 70_000, "expected at most 65536 characters, got 70000"),
    ],
)
def test_what_is_no_template_says_where_and_why(text: str, problem: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(problem)):
        Template(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\n {{.Nope}}", "line 2, column 2: main.Data has no field Nope"),
        ("{{.}}", "expected a field of main.Data, got all of it"),
        ("{{.Count.Name}}", "int has no field Name"),
        ("{{.Name 3}}", "Name has arguments but is no method of main.Data"),
        ("{{.Greet 3}}", "Greet: expected one string, got ['int']"),
        ("{{.Greet}}", "Greet: expected one string, got []"),
        ("{{index .List 2}}", "index out of range: 2 of 2"),
        ("{{index .List `a`}}", "index: expected a number, got string"),
        ("{{index .Words 1}}", "index of a map: expected a string, got int"),
        ("{{index 1 1}}", "index: expected a slice, a map or a string, got int"),
        ("{{slice .Name 3 2}}", "slice out of range: [3, 2]"),
        ("{{len .Count}}", "len: expected a string, a slice or a map, got int"),
        ("{{lt 1 1.0}}", "int and float64 cannot be compared"),
        ("{{lt .IsOn .IsOn}}", "bool has no order"),
        ("{{eq 1 `1`}}", "eq: int and string cannot be compared"),
        ("{{eq .List .List}}", "eq: []string cannot be compared"),
        ("{{not 1 2}}", "not: expected 1 arguments, got 2"),
        ("{{slice 1 2 3 4 5}}", "slice: expected 1 to 4 arguments, got 5"),
        ("{{printf `%*d` 1 2}}", "printf: %* is not supported"),
        ("{{printf `%2000d` 1}}", "printf: expected widths and precisions of at most 1000, got 2000"),
        ("{{range .Count}}{{range 9999}}{{end}}{{end}}", "expected at most 10000 turns of loops"),
        ("{{range 3000}}{{printf `%100d` 1}}{{end}}", "expected at most 262144 characters of output"),
        ("{{range 1.5}}{{end}}", "range: expected a slice, a map or a number, got float64"),
        ("{{range $i, $n := 3}}{{end}}", "range: expected one variable at most with a number"),
    ],
)
def test_what_cannot_be_rendered_says_where_and_why(text: str, problem: str) -> None:
    template = Template(text)
    with pytest.raises(RenderError, match=re.escape(problem)) as caught:
        template.render(Data())
    assert str(caught.value).startswith("line ")


# Whatever the text: a template or its typed error, a text or its typed error, and soon.

_WORDS = (
    "{{ }} {{- -}} if else end with range print printf js len index slice eq lt and or not nil true . $ $x := = | , ( )"
)
_MORE = r""".Name .List .Words .Nothing .Self .Greet .Raw 0 1 -3 1.5 1e999 0x 9 `a` "b" "%d%s" 'c' /* */ \ " ` é"""
_FRAGMENTS = st.sampled_from([*_WORDS.split(), *_MORE.split(), " ", "\n", " - "])
_LOCATED = re.compile(r"line \d+, column \d+: ")


def attempt(text: str, data: object) -> None:
    """Compile and render; both may fail in their way, saying where."""
    with suppress(TemplateError, RenderError):
        try:
            Template(text).render(data).encode("utf-8", "surrogatepass")
        except (TemplateError, RenderError) as error:
            if not _LOCATED.match(str(error)):
                raise AssertionError(f"says not where: {error}") from error
            raise


@given(st.lists(_FRAGMENTS, max_size=40).map(" ".join) | st.lists(_FRAGMENTS, max_size=40).map("".join) | st.text())
def test_any_text_is_a_template_or_a_typed_error(text: str) -> None:
    attempt(text, Data())


_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=3)
_FORMATS = st.lists(st.sampled_from(["%%", "12", *"%vsqdxXfegtcUbo.+-#03é"]), max_size=12).map("".join)


@given(_FORMATS, st.lists(_VALUES, max_size=3), st.sampled_from(["js", "html", "urlquery", "print", "len", "not"]))
def test_any_value_can_be_formatted_or_is_a_typed_error(pattern: str, values: list[object], function: str) -> None:
    data = Map({"format": pattern, "values": values, "nested": Map(a=values)})
    attempt("{{printf .format .values}}", data)
    attempt("{{range .values}}{{printf $.format . .}}{{end}}", data)
    attempt("{{range .values}}{{" + function + " .}}{{end}}", data)
    attempt("{{.nested}}", data)


def test_rendering_leaves_nothing_behind_in_the_template() -> None:
    template = Template("{{$x := .Count}}{{range .List}}{{$x = .}}{{end}}{{$x}}")
    assert [template.render(Data()) for _ in range(3)] == ["y", "y", "y"]
