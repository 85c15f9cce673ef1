"""What becomes of each response of the tables, sent at once and byte by byte."""

import pytest

from tests.conformance.http1.cases import ResponseCase
from tests.conformance.http1.rig import Rig
from tests.conformance.http1.tables import RESPONSES

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "pieces"])
@pytest.mark.parametrize("case", [pytest.param(case, id=f"{name}-{case.name}") for name, case in RESPONSES])
async def test_a_response_is_relayed_in_one_reading_only_or_given_up(
    rig: Rig, case: ResponseCase, in_pieces: bool
) -> None:
    await rig.play_response(case, in_pieces=in_pieces)
