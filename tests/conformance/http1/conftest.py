"""One app and one queue-proxy serve all rows."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

pytest.register_assert_rewrite("tests.conformance.http1.rig")

from tests.conformance.http1.rig import Rig, running_rig  # noqa: E402 - its assertions have to be rewritten first


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rig() -> AsyncIterator[Rig]:
    async with running_rig() as rig:
        yield rig
