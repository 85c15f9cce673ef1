"""One dispatcher for all tests of a module: they use channels of their own."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.dispatcher import World, surroundings


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world() -> AsyncIterator[World]:
    async with surroundings() as world:
        yield world
