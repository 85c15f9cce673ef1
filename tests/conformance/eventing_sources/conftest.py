"""One API server for a module's tests; adapters run against it as they would in a cluster."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest_asyncio

from kube.client import Client
from tests.support.api import RunningApiServer, running_api_server


@dataclass
class Api:
    """A server and an administrator's client."""

    running: RunningApiServer
    client: Client

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST an object to a collection by its path."""
        answer: dict[str, Any] = json.loads(await self.client.raw("POST", path, body=json.dumps(body).encode()))
        return answer

    async def merge(self, path: str, patch: dict[str, Any]) -> None:
        """PATCH an object by its path."""
        body = json.dumps(patch).encode()
        await self.client.raw("PATCH", path, body=body, content_type="application/merge-patch+json")

    async def delete(self, path: str) -> None:
        """DELETE an object by its path."""
        await self.client.raw("DELETE", path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api() -> AsyncIterator[Api]:
    async with running_api_server() as running, Client(running.config) as client:
        yield Api(running, client)
