"""The part of Go's templates that names are made of."""

import pytest

from controller.templates import Template, TemplateError

DATA = {"Name": "web", "Labels": {"team": "blue", "a.b/c": "x"}}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{.Name}}", "web"),
        ("a-{{ .Name }}-b", "a-web-b"),
        ("{{.Labels.team}}", "blue"),
        ('{{index .Labels "a.b/c"}}', "x"),
        ("{{index .Labels `a.b/c`}}", "x"),
        ('{{index .Labels "absent"}}', ""),
        ("x {{- .Name -}} y", "xweby"),
    ],
)
def test_templates(text: str, rendered: str) -> None:
    assert Template(text).render(DATA) == rendered


@pytest.mark.parametrize(
    "text", ["{{", "{{printf .Name}}", "{{if .Name}}x{{end}}", "{{.Nobody}}", "{{.Name.x}}", "{{.Labels}}"]
)
def test_templates_that_cannot_work_are_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        Template(text).render(DATA)
