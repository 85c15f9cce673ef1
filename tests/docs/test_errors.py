"""`docs/errors.md`: each row is what some code answers, and no answer of the data plane is missing."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest

from proxies.messages import REASONS
from tests.docs.reference import ROOT

PAGE = ROOT / "docs" / "errors.md"

_PACKAGES = {
    "queue-proxy and activator alike": ("proxies",),
    "queue-proxy": ("queue_proxy", "proxies"),
    "activator": ("activator", "proxies"),
    "broker ingress": ("broker", "eventing", "proxies"),
    "broker filter": ("broker", "eventing", "proxies"),
    "dispatchers": ("broker", "eventing", "proxies"),
    "broker job-sink": ("broker",),
    "autoscaler": ("autoscaler",),
}
"""The code behind each section; what Envoy says is not ours."""


class Said(NamedTuple):
    """A text somewhere in the code, what does not change of it; in a call that has a status, with that, else with 0."""

    status: int
    text: str
    place: str


class Row(NamedTuple):
    """A row of the page."""

    section: str
    status: int
    parts: tuple[str, ...]
    """Of the body, what does not change."""


def test_each_row_is_in_the_code_and_with_its_status() -> None:
    missing = []
    for row in _rows():
        said = [each for each in _said_in(row.section) if _fits(row, each)]
        statuses = {each.status for each in said if each.status}
        if row.section in _PACKAGES and row.parts and (not said or (statuses and row.status not in statuses)):
            missing.append((row, statuses))

    assert len(_rows()) > 60
    assert missing == []


@pytest.mark.parametrize("package", ["proxies", "queue_proxy", "activator"])
def test_each_answer_of_the_data_plane_has_its_row(package: str) -> None:
    rows = [row for row in _rows() if package in _PACKAGES.get(row.section, ())]
    made = [said for said in _said(package) if said.status >= 400]

    assert len(made) > 3
    assert [said for said in made if not any(row.status == said.status and _fits(row, said) for row in rows)] == []


def test_every_row_has_all_its_cells() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d", line)]

    assert [line for line in lines if len(re.findall(r"(?<= )\|(?= |$)", line)) != 4] == []


def _fits(row: Row, said: Said) -> bool:
    return all(part in said.text for part in row.parts) and bool(row.parts) == bool(said.text)


@cache
def _rows() -> tuple[Row, ...]:
    rows, section = [], ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif found := re.match(r"\| (\d{3}) \| (?:`(.*?)`|\(none\)) \| ", line):
            parts = re.split(r"\.\.\.", found[2] or "")
            rows.append(Row(section, int(found[1]), tuple(part.strip() for part in parts if len(part.strip()) > 2)))
    return tuple(rows)


def _said_in(section: str) -> list[Said]:
    return [said for package in _PACKAGES.get(section, ()) for said in _said(package)]


@cache
def _said(package: str) -> tuple[Said, ...]:
    paths = sorted((ROOT / package).rglob("*.py"))
    return tuple(said for path in paths for said in _said_by(ast.parse(path.read_text()), path.name))


def _said_by(tree: ast.AST, name: str) -> Iterator[Said]:
    for node in ast.walk(tree):
        place = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and len(node.args) == 2 and isinstance(node.args[0], ast.Constant):
            status, text = node.args[0].value, _text(node.args[1])
            if isinstance(status, int) and status in REASONS and text:
                if ast.unparse(node.func) == "RequestError":
                    text = f"{status} {REASONS[status].decode()}: {text}"
                yield Said(status, text, place)
        if text := _text(node):
            yield Said(0, text, place)


def _text(node: ast.AST) -> str:
    """What does not change of a string; empty for anything else."""
    if isinstance(node, ast.JoinedStr):
        return "...".join(_text(each) for each in node.values if isinstance(each, ast.Constant))
    value = node.value if isinstance(node, ast.Constant) else ""
    return value if isinstance(value, str) else value.decode("latin-1") if isinstance(value, bytes) else ""
