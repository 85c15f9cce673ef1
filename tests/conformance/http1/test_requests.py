"""What becomes of each request of the tables, sent at once and byte by byte."""

import pytest

from tests.conformance.http1.cases import RequestCase
from tests.conformance.http1.rig import Rig
from tests.conformance.http1.tables import REQUESTS

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "pieces"])
@pytest.mark.parametrize("case", [pytest.param(case, id=f"{name}-{case.name}") for name, case in REQUESTS])
async def test_a_request_is_refused_or_forwarded_in_one_reading_only(
    rig: Rig, case: RequestCase, in_pieces: bool
) -> None:
    await rig.play_request(case, in_pieces=in_pieces)
