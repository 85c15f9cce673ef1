"""Node tests run on uvloop, as the stack does, with a guardian of their own."""

from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from local_cluster.guardian import Guardian


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def guardian() -> AsyncIterator[Guardian]:
    guardian = Guardian()
    await guardian.start()
    yield guardian
    await guardian.stop()
