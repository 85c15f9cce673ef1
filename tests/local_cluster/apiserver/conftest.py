"""A running server and a plain HTTP client, so that tests state what a peer sees."""

from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from tests.local_cluster.apiserver.raw import Api, connected
from tests.support.api import RunningApiServer, running_api_server


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    """The loop that the stack runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def running() -> AsyncIterator[RunningApiServer]:
    """A fresh server."""
    async with running_api_server() as running:
        yield running


@pytest.fixture
async def api(running: RunningApiServer) -> AsyncIterator[Api]:
    """An administrator's connection to it."""
    async with connected(running.config) as api:
        yield api
