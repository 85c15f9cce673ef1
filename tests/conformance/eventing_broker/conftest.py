"""One API server, one ingress and one filter for all statements."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

pytest.register_assert_rewrite("tests.conformance.eventing_broker.world")

from tests.conformance.eventing_broker.world import World, running_world  # noqa: E402 - assertions are rewritten first


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world() -> AsyncIterator[World]:
    async with running_world() as world:
        yield world
