"""What `make test` makes of failures, in a project of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = """
import pathlib, pytest
from hypothesis import given, settings, strategies

@pytest.mark.parametrize("what", ["a b", "x::y[z]"])
def test_slow_beside_others(what):
    mark = pathlib.Path(f"{what}.mark")
    if not mark.exists():
        mark.touch()
        raise AssertionError

@pytest.mark.parametrize("number", range(%d))
def test_wrong(number):
    raise AssertionError

drawn = []

@given(strategies.text(), strategies.integers())
def draw(text, number):
    drawn.append((text, number))

def test_drawn_alike_whatever_is_loaded():
    assert settings().derandomize
    draw()
    before = drawn.copy()
    drawn.clear()
    import loaded
    draw()
    assert len(drawn) > 50
    assert drawn == before
"""


def run(folder: Path, wrong: int) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").touch()
    (folder / "loaded.py").write_text("NAMES = " + repr([f"name of ours {number}" for number in range(1000)]))
    (folder / "test_it.py").write_text(TESTS % wrong)
    command = [sys.executable, "-m", "tests.suite", "test_it.py"]
    environ = {
        "PYTHONPATH": str(ROOT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # only what is needed, for a quick start
        "PYTEST_PLUGINS": "_hypothesis_pytestplugin,pytest_timeout,tests.conftest",
    }
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=100)


def test_what_fails_beside_others_must_pass_alone_and_is_named(tmp_path: Path) -> None:
    ended = run(tmp_path, wrong=0)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    last = ended.stdout.partition("Failed beside others, and passed alone:")[2].split("\n  ")
    names = ["test_it.py::test_slow_beside_others[a b]", "test_it.py::test_slow_beside_others[x::y[z]]"]
    assert [line.strip() for line in last[1:]] == names


def test_what_fails_alone_too_fails_the_run(tmp_path: Path) -> None:
    ended = run(tmp_path, wrong=1)
    assert ended.returncode == 1
    assert "did not all pass alone" in ended.stdout
    assert "1 failed, 2 passed" in ended.stdout


def test_tests_of_a_group_can_be_run_alone() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "--collect-only", "-q", "tests/system/test_stack.py"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert ended.returncode == 0, ended.stdout


def test_many_failures_are_a_fault_at_once(tmp_path: Path) -> None:
    ended = run(tmp_path, wrong=9)
    assert ended.returncode == 1
    assert "Once more" not in ended.stdout


HANGING = """
import asyncio, uvloop

async def hang():
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up")

def test_hangs_on_uvloop():
    uvloop.run(hang())

def test_hangs():
    asyncio.run(hang())

def test_goes_on():
    pass
"""


def test_what_hangs_is_ended_and_the_next_goes_on(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "test_it.py").write_text(HANGING)
    plugins = ("-p", "pytest_timeout", "-p", "tests.support.time_limits", "--timeout", "1")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "test_it.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert "2 failed, 1 passed" in ended.stdout
    assert "test_it.py::test_hangs_on_uvloop took longer than 1 s" in ended.stdout
    assert ended.stdout.count("cleaned up") == 2
