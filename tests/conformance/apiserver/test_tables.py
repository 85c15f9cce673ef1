"""Every case of the tables."""

import pytest

from tests.conformance.apiserver.cases import Case
from tests.conformance.apiserver.rig import Rig
from tests.conformance.apiserver.tables import CASES


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("case", [pytest.param(case, id=f"{table}-{case.name}") for table, case in CASES])
async def test_the_dialogue_goes_as_written(rig: Rig, case: Case) -> None:
    await rig.play(case)


def test_the_tables_are_what_they_claim() -> None:
    names = [(table, case.name) for table, case in CASES]
    assert len(names) == len(set(names))
    assert len(names) >= 150
