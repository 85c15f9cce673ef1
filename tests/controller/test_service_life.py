"""A Service from manifest to Ready, on a real API server with real workloads; kubelet, autoscaler and gateway are played."""

from collections.abc import AsyncIterator

import pytest

from kube.models import core, serving
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler
from kube.models.networking import Ingress
from tests.controller.cluster import NAMESPACE, Kn, condition, control_plane, service


@pytest.fixture
async def kn() -> AsyncIterator[Kn]:
    async with control_plane() as running:
        yield running


async def test_a_service_becomes_ready_with_its_whole_tree(kn: Kn) -> None:
    await kn.create(serving.Service, service("hello"))
    ready = await kn.until_ready("hello")
    assert ready.status.url == "http://hello.default.example.com"
    print(ready)
