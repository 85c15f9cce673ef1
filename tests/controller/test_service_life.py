"""Services from manifest to Ready and on, against a real API server (`tests.controller.cluster` says who plays)."""

from collections.abc import AsyncIterator

import pytest

from kube.models import serving
from tests.controller.cluster import Kn, control_plane, service


@pytest.fixture
async def kn() -> AsyncIterator[Kn]:
    async with control_plane() as running:
        yield running


async def test_a_service_becomes_ready_with_its_whole_tree(kn: Kn) -> None:
    await kn.create(serving.Service, service("hello"))
    ready = await kn.until_ready("hello")
    assert ready.status.url == "http://hello.default.example.com"
    print(ready)
