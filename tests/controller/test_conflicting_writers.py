"""Several writers of one object: nobody's words are lost, and nobody speaks in the system's name."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from controller import ingress
from controller.cluster import Cluster
from controller.collection import Collection, Reconciler
from controller.configuration import revision_for
from controller.rollout import Rollout
from kube.conditions import ConditionSet
from kube.errors import Conflict
from kube.models import core, serving
from kube.models.meta import ObjectMeta
from tests.controller.cluster import NAMESPACE, Kn, control_plane, service
from tests.controller.objects import route, settings

ROUTES = "serving.knative.dev/routes"


@pytest.fixture
async def kn() -> AsyncIterator[Kn]:
    async with control_plane() as running:
        yield running


async def test_what_was_written_meanwhile_is_not_overwritten(kn: Kn) -> None:
    maps = Collection(kn.client, core.ConfigMap, namespace=NAMESPACE)
    stale = await maps.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared", "namespace": NAMESPACE}}
    )
    await kn.client.patch(core.ConfigMap, "shared", NAMESPACE, {"data": {"theirs": "1"}})
    with pytest.raises(Conflict):
        await maps.patch(stale, {"data": {"ours": "1"}})
    with pytest.raises(Conflict):
        await maps.patch(stale, [{"op": "add", "path": "/data", "value": {"ours": "1"}}], type="json")
    held = await kn.get(core.ConfigMap, "shared")
    assert held.data == {"theirs": "1"}
    await maps.patch(held, {"data": {"ours": "1"}})
    assert (await kn.get(core.ConfigMap, "shared")).data == {"theirs": "1", "ours": "1"}


async def test_many_routes_that_begin_at_once_are_all_listed(kn: Kn) -> None:
    await kn.create(serving.Service, service("hello"))
    await kn.until_ready("hello")
    names = [f"r{index}" for index in range(12)]
    traffic = [{"revisionName": "hello-00001", "percent": 100}]
    bodies = [{"metadata": {"name": name}, "spec": {"traffic": traffic}} for name in names]
    await asyncio.gather(*(kn.create(serving.Route, body) for body in bodies))
    wanted = ",".join(sorted(["hello", *names]))
    await kn.until(
        serving.Revision, "hello-00001", "marked by all", lambda r: r.metadata.annotations.get(ROUTES) == wanted
    )
    await asyncio.gather(*(kn.client.delete(serving.Route, name, NAMESPACE) for name in names))
    await kn.until(
        serving.Revision, "hello-00001", "marked by its own", lambda r: r.metadata.annotations.get(ROUTES) == "hello"
    )


def test_a_template_cannot_speak_for_the_system() -> None:
    configuration = serving.Configuration(metadata=ObjectMeta(name="mine", namespace="shop", uid="u", generation=1))
    template = {
        "metadata": {
            "labels": {
                "serving.knative.dev/service": "theirs",
                "serving.knative.dev/serviceUID": "their-uid",
                "serving.knative.dev/routingState": "active",
                "serving.knative.dev/revisionUID": "their-revision",
                "team": "blue",
            },
            "annotations": {ROUTES: "their-route", "serving.knative.dev/creator": "root", "a": "b"},
        },
        "spec": {},
    }
    meta = revision_for(configuration, template, "now")["metadata"]
    assert meta["labels"] == {
        "team": "blue",
        "serving.knative.dev/configuration": "mine",
        "serving.knative.dev/configurationUID": "u",
        "serving.knative.dev/configurationGeneration": "1",
        "serving.knative.dev/routingState": "pending",
    }
    assert meta["annotations"] == {"a": "b", "serving.knative.dev/routingStateModified": "now"}


def test_a_route_cannot_state_its_own_rollout() -> None:
    forged = route(annotations={"networking.internal.knative.dev/rollout": "forged", "a": "b"})
    annotations = ingress.build(forged, {}, {}, Rollout(), settings())["metadata"]["annotations"]
    assert annotations["networking.internal.knative.dev/rollout"] == '{"configurations":[]}'
    assert annotations["a"] == "b"


@pytest.mark.parametrize(
    "text",
    [
        '{"configurations":[{"percent":100,"revisions":[{"percent":150},{"percent":-50}]}]}',
        '{"configurations":[{"percent":1e999}]}',
        "[" * 100_000,
    ],
)
def test_a_stored_rollout_that_cannot_be_is_ignored(text: str) -> None:
    assert Rollout.from_json(text) is None


async def test_an_object_that_goes_while_it_is_worked_on_is_no_failure(kn: Kn) -> None:
    cluster = Cluster(kn.client)
    await kn.create(serving.Service, service("brief"))
    await cluster.services.informer.start()

    async def work(obj: serving.Service, status: serving.ServiceStatus, _conditions: object) -> None:
        await kn.client.delete(serving.Service, obj.name, NAMESPACE)
        status.url = "http://gone"

    reconciler = Reconciler(cluster.services, ConditionSet(), work, cluster.now_s)
    assert await reconciler((NAMESPACE, "brief")) is None
    await cluster.services.informer.stop()
