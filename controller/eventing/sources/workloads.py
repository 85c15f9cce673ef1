"""Deployments that sources own, kept as they should be without quarrelling with those who fill them in.

The API server adds defaults, and a SinkBinding adds variables: a Deployment has drifted only when something that is
wanted is missing or different, or when a list has more than is wanted once what bindings put in is taken out.
"""

import copy
import json
from typing import Any

from controller.collection import Collection
from controller.eventing.children import NotOwned
from controller.eventing.sources.injection import unbind
from kube.errors import AlreadyExists
from kube.models.apps import Deployment
from kube.models.meta import Resource

__all__ = ["contains", "provide_deployment"]

JsonObject = dict[str, Any]


async def provide_deployment(collection: Collection[Deployment], owner: Resource, wanted: JsonObject) -> Deployment:
    """The Deployment, with its template as `wanted`. Raises `NotOwned`, and what the API raises."""
    meta = wanted["metadata"]
    existing = collection.get(meta["namespace"], meta["name"])
    if existing is None:
        try:
            return await collection.create(wanted)
        except AlreadyExists:
            existing = await collection.read(meta["namespace"], meta["name"])
    if not existing.is_controlled_by(owner):
        raise NotOwned(f'Deployment "{existing.name}" exists and does not belong to {owner.kind} "{owner.name}"')
    bare: JsonObject = {"spec": {"template": copy.deepcopy(existing.spec.template)}}
    unbind(bare)
    template = wanted["spec"]["template"]
    # Adapters are told of their sinks by variables of the same names as those of bindings.
    is_as_wanted = contains(existing.spec.template, template) or contains(bare["spec"]["template"], template)
    if is_as_wanted and existing.spec.replicas == wanted["spec"]["replicas"]:
        return existing
    operations = [
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/spec/replicas", "value": wanted["spec"]["replicas"]},
    ]
    return await collection.patch(existing, operations, type="json")


def contains(held: Any, wanted: Any) -> bool:
    """Whether `held` is `wanted`, but for what was added to objects; lists have to be equally long."""
    if isinstance(wanted, dict):
        return isinstance(held, dict) and all(contains(held.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not wanted:
            return not held
        return (
            isinstance(held, list)
            and len(held) == len(wanted)
            and all(contains(one, other) for one, other in zip(held, wanted, strict=True))
        )
    if wanted in (None, "") and held is None:
        return True  # what is empty is left out
    return json.dumps(held) == json.dumps(wanted)
