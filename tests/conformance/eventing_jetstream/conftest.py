"""One dispatcher and one NATS for all tests of a module: they use channels of their own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.jetstream_dispatcher import JetStreamWorld, jetstream_surroundings


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def jetstream(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JetStreamWorld]:
    async with jetstream_surroundings(tmp_path_factory.mktemp("jetstream")) as world:
        yield world
