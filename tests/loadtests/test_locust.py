"""The load tests by locust: each can be loaded, and `make loadtest` knows what each needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.locust.__main__ import main
from loadtests.locust.scenarios import SCENARIOS

FOLDER = Path(__file__).parents[2] / "loadtests" / "locust"
OTHERS = {"__init__.py", "__main__.py", "app.py", "busy.py", "common.py", "page.py", "samples.py", "scenarios.py"}


def test_every_file_has_a_scenario_on_the_local_stack() -> None:
    assert {each.file for each in SCENARIOS.values()} == {path.name for path in FOLDER.glob("*.py")} - OTHERS


def test_locust_loads_every_file() -> None:
    files = sorted({each.file for each in SCENARIOS.values()})
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", ",".join(str(FOLDER / name) for name in files), "--list"],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    users = {line.strip() for line in done.stdout.splitlines()[1:] if line.strip()}
    assert users == {
        *("Caller", "ColdStart", "Listener", "Producer", "Ramp", "Steady", "Talker", "Trickle", "Visitor"),
    }


def test_a_scenario_that_is_none_ends_with_the_names_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nothing"])
    assert ended.value.code == 2
    assert "cold-start" in capsys.readouterr().err
