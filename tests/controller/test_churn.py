"""Services that come, change and go at any moment: what is left is what is wanted, and of the others nothing."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from kube.errors import Conflict, NotFound
from kube.informer import Informer
from kube.models import core, serving
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler
from kube.models.discovery import EndpointSlice
from kube.models.meta import Resource
from kube.models.networking import Ingress, ServerlessService
from tests.controller.cluster import NAMESPACE, Kn, control_plane, service
from tests.support.processes import eventually

KINDS: tuple[type[Resource], ...] = (
    serving.Service,
    serving.Configuration,
    serving.Revision,
    serving.Route,
    PodAutoscaler,
    ServerlessService,
    Ingress,
    Deployment,
    core.Pod,
    core.Service,
    core.Endpoints,
    EndpointSlice,
)
BEFORE = {("Service", "kubernetes"), ("Endpoints", "kubernetes"), ("EndpointSlice", "kubernetes")}


async def left(kn: Kn) -> list[str]:
    """Everything in the namespace that was not there before."""
    found = [obj for kind in KINDS for obj in (await kn.client.list(kind, NAMESPACE)).items]
    return sorted(f"{obj.kind} {obj.name}" for obj in found if (obj.kind, obj.name) not in BEFORE)


async def until_nothing_is_left(kn: Kn) -> None:
    remaining: list[str] = []

    async def is_empty() -> bool:
        remaining[:] = await left(kn)
        return not remaining

    try:
        await eventually(is_empty, timeout_s=30)
    except AssertionError:
        raise AssertionError(f"left behind: {remaining}") from None


def image(tag: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"image": f"dev.local/hello:{tag}"}]}}}}


MOMENTS: dict[str, tuple[type[Resource], str]] = {
    "the Service is there": (serving.Service, "web"),
    "the Configuration is there": (serving.Configuration, "web"),
    "the Revision is there": (serving.Revision, "web-00001"),
    "the Deployment is there": (Deployment, "web-00001-deployment"),
    "the PodAutoscaler is there": (PodAutoscaler, "web-00001"),
    "the ServerlessService is there": (ServerlessService, "web-00001"),
    "its public Endpoints are there": (core.Endpoints, "web-00001"),
    "the placeholder is there": (core.Service, "web"),
    "the Ingress is there": (Ingress, "web"),
}


async def test_deleted_at_any_moment_it_leaves_nothing_behind() -> None:
    async with control_plane() as kn:
        for kind, name in MOMENTS.values():
            appeared = asyncio.Event()
            informer = Informer(kn.client, kind, namespace=NAMESPACE)

            def changed(_old: object, new: Resource | None, name: str = name, event: asyncio.Event = appeared) -> None:
                if new is not None and new.name == name:
                    event.set()

            informer.on_change(changed)
            await informer.start()
            await kn.create(serving.Service, service("web"))
            async with asyncio.timeout(20):
                await appeared.wait()
            await kn.client.delete(serving.Service, "web", NAMESPACE)
            await informer.stop()
            await until_nothing_is_left(kn)


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_is_wanted_in_the_end_is_ready_and_nothing_else_is_there(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"s{number}" for number in range(12)]

    async with control_plane() as kn:

        async def create(name: str) -> None:
            with suppress(Conflict):
                await kn.create(serving.Service, service(name, "dev.local/hello:0"))

        async def update(name: str) -> None:
            await kn.client.patch(serving.Service, name, NAMESPACE, image(str(chance.randrange(5))))

        async def split(name: str) -> None:
            traffic = [
                {"revisionName": f"{name}-00001", "percent": 40, "tag": "old"},
                {"latestRevision": True, "percent": 60},
            ]
            await kn.client.patch(serving.Service, name, NAMESPACE, {"spec": {"traffic": traffic}})

        async def whole(name: str) -> None:
            traffic = [{"latestRevision": True, "percent": 100}]
            await kn.client.patch(serving.Service, name, NAMESPACE, {"spec": {"traffic": traffic}})

        async def delete(name: str) -> None:
            await kn.client.delete(serving.Service, name, NAMESPACE)

        async def break_(name: str) -> None:
            # Somebody's hand in what the controller made.
            await kn.client.delete(Deployment, f"{name}-00001-deployment", NAMESPACE)

        steps: list[Callable[[str], Awaitable[None]]] = [create, create, update, update, split, whole, delete, break_]

        async def user() -> None:
            for _ in range(25):
                with suppress(NotFound):
                    await chance.choice(steps)(chance.choice(names))
                await asyncio.sleep(chance.random() * 0.03)

        await asyncio.gather(*(user() for _ in range(4)))
        kept = [found.name for found in (await kn.client.list(serving.Service, NAMESPACE)).items]
        for name in kept:
            with suppress(NotFound):
                await whole(name)
        for name in kept:
            ready = await kn.until_ready(name)
            assert [target.percent for target in ready.status.traffic] == [100]
            assert ready.status.latest_ready_revision_name == ready.status.latest_created_revision_name
        routes = {obj.name for obj in (await kn.client.list(serving.Route, NAMESPACE)).items}
        assert routes == set(kept)
        for name in kept:
            await delete(name)
        await until_nothing_is_left(kn)
