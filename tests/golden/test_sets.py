"""Every set in a folder has a test that replays it."""

from pathlib import Path

import pytest


def test_no_set_is_left_without_a_replay(request: pytest.FixtureRequest) -> None:
    here = Path(__file__).parent
    directory = Path(request.config.getoption("golden", None) or here / "data")
    sets = {path.stem for path in directory.glob("*.json")}
    assert sets, f"{directory} holds no golden set"
    replayed = {path.stem.removeprefix("test_") for path in here.glob("test_*.py")}
    assert sets - replayed == set()
