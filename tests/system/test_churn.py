"""The churn of `loadtests.lab churn`, short: that it runs, and that a little of it does no harm."""

import json
import sys

import pytest

from tests.system.conftest import program

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("churn")]


async def test_a_little_churn_fails_nobody_and_leaves_nothing() -> None:
    ended = await program(
        *(sys.executable, "-m", "loadtests.lab", "churn", "--json"),
        *("--seconds", "12", "--services", "4", "--rate", "3"),
        seconds=220,
    )
    told = json.loads(ended.out)
    assert (told["failures"], told["left"]) == ([], [])
    assert told["requests"] > 20
    assert told["services_at_least"] >= 3
    assert {"create", "update", "split", "delete"} <= set(told["changes"])
