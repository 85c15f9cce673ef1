"""Deployments of sources are written when they have drifted, and only then."""

from typing import Any

import pytest

from controller.collection import Collection
from controller.eventing.sources.workloads import provide_deployment
from kube.models.apps import Deployment
from tests.controller.eventing.cluster import Eventing

BY_HAND = [{"name": "K_SINK", "value": "http://sink/"}, {"name": "K_CE_OVERRIDES", "value": ""}]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("env", [BY_HAND, [{"name": "A", "value": "b"}]], ids=["as adapters have it", "of a user"])
async def test_what_is_as_wanted_is_not_written(
    eventing: Eventing, env: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await eventing.create(Deployment, "owner", spec(env))
    wanted: dict[str, Any] = {
        "metadata": {
            "name": "child",
            "namespace": eventing.namespace,
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "owner", "uid": owner.metadata.uid}
                | {"controller": True}
            ],
        },
        "spec": spec(env),
    }
    collection = Collection(eventing.client, Deployment)
    made = await provide_deployment(collection, owner, wanted)
    monkeypatch.setattr(collection, "patch", None)
    assert await provide_deployment(collection, owner, wanted) == made


def spec(env: list[dict[str, str]]) -> dict[str, Any]:
    """Of a Deployment that runs nothing."""
    container = {"name": "c", "image": "i", "env": env}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    return {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
