"""A running server and a plain HTTP client, so that tests state what a peer sees."""

from collections.abc import AsyncIterator

import pytest

from tests.local_cluster.apiserver.raw import Api, connected
from tests.support.api import RunningApiServer, running_api_server


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
