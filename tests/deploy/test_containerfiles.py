"""The Containerfiles, read as an engine reads them: every file that they copy exists, every command is one of ours.

No engine runs here, so that what it would do is followed as far as it can be: where each `COPY` takes its files from,
what each `RUN` calls, and that the last stage is the configuration which the layouts have.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.images.components import COMPONENTS, ENVIRONMENT, USER, Component, entrypoint
from deploy.images.containerfile import containerfile, containerfile_path
from deploy.images.packages import ROOT

KNOWN = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "LABEL", "ENTRYPOINT"}
pytestmark = pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str
    stage: int
    """Counted from 0; -1 before the first FROM."""


@pytest.fixture
def file(component: Component) -> list[Instruction]:
    found: list[Instruction] = []
    stage = -1
    for line in containerfile_path(component).read_text().splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            stage += word == "FROM"
            found.append(Instruction(word, rest, stage))
    return found


def of(file: list[Instruction], word: str, stage: int) -> list[str]:
    return [each.rest for each in file if each.word == word and each.stage == stage]


def one(file: list[Instruction], word: str, stage: int) -> str:
    (rest,) = of(file, word, stage)
    return rest


def test_it_is_what_the_template_gives(component: Component) -> None:
    told = "run `python -m deploy.images containerfiles`"
    assert containerfile_path(component).read_text() == containerfile(component), told


def test_it_has_two_stages_and_nothing_that_an_engine_does_not_know(file: list[Instruction]) -> None:
    assert {each.word for each in file} == KNOWN
    assert [each.rest for each in file if each.word == "FROM"] == ["${PYTHON} AS build", "scratch"]
    # What FROM is told must be said before it.
    assert one(file, "ARG", -1).startswith("PYTHON=")
    # Nothing can run in the last stage: there is no shell.
    assert of(file, "RUN", 1) == []


def test_what_is_copied_is_there_and_not_left_out_of_the_context(file: list[Instruction]) -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    for rest in of(file, "COPY", 0):
        *sources, _ = shlex.split(rest)
        for source in sources:
            assert (ROOT / source).exists(), source
            assert not any(Path(source).match(pattern) for pattern in ignored), source
    # All of it is copied over what the commands before made: the build machine's own must not be among it.
    assert {".venv", "build", "**/__pycache__"} <= set(ignored)


def test_its_commands_are_those_of_the_builder(file: list[Instruction], component: Component) -> None:
    install, build = of(file, "RUN", 0)
    make, pip = (shlex.split(part) for part in install.split(" && "))
    assert make == ["python", "-m", "venv", ".venv"]
    assert pip[:2] == [".venv/bin/pip", "install"]
    assert pip[-3:] == ["--require-hashes", "-r", "requirements.lock"]
    words = shlex.split(build)
    assert words[:3] == [".venv/bin/python", "-m", "deploy.images"]
    assert words[3:] == ["rootfs", component.name, "/rootfs"]
    assert one(file, "COPY", 1) == "--from=build /rootfs/ /"


def test_its_image_is_configured_as_the_layout_is(file: list[Instruction], component: Component) -> None:
    assert one(file, "USER", 1) == USER
    assert dict(word.split("=", 1) for word in shlex.split(one(file, "ENV", 1))) == ENVIRONMENT
    assert [int(port) for port in one(file, "EXPOSE", 1).split()] == list(component.ports)
    assert f"org.opencontainers.image.title={component.name}" in shlex.split(one(file, "LABEL", 1))
    assert json.loads(one(file, "ENTRYPOINT", 1)) == entrypoint(component)
