"""A walk over the server's own OpenAPI documents: every operation that they list, with bodies after its schema and with
bodies that break it. Nothing is answered 500, and what is accepted can be read back.

This walk knows that an object has to have a name, and goes on with what it has created; `test_schemathesis` knows what
documents promise of answers.
"""

import random
from typing import Any

import pytest

from tests.conformance.apiserver.rig import Rig
from tests.local_cluster.apiserver.raw import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Api

BODIES = 6
"""For each operation; half of them broken in one place."""
_DEPTH_MAX = 7
_ODD: tuple[Any, ...] = (None, True, 0, -1, 1.5, 1 << 60, "", "x", "\x00", "ü" * 40, [], [None], {}, {"a": None}, [[]])
_DOCUMENTS = (
    "api/v1",
    "apis/apps/v1",
    "apis/batch/v1",
    "apis/discovery.k8s.io/v1",
    "apis/coordination.k8s.io/v1",
    "apis/events.k8s.io/v1",
    "apis/autoscaling/v2",
    "apis/policy/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/admissionregistration.k8s.io/v1",
    "apis/apiextensions.k8s.io/v1",
    "apis/authentication.k8s.io/v1",
    "apis/authorization.k8s.io/v1",
    "apis/serving.knative.dev/v1",
    "apis/serving.knative.dev/v1beta1",
    "apis/autoscaling.internal.knative.dev/v1alpha1",
    "apis/networking.internal.knative.dev/v1alpha1",
    "apis/caching.internal.knative.dev/v1alpha1",
    "apis/test.example/v1",
)


class _Bodies:
    """Values after a document's schemas."""

    def __init__(self, document: dict[str, Any], chance: random.Random) -> None:
        self._schemas = document["components"]["schemas"]
        self._chance = chance

    def after(self, node: dict[str, Any], depth: int = 0) -> Any:
        """A value that the schema allows, as far as it says."""
        if "allOf" in node:
            node = {**node["allOf"][0], **{key: value for key, value in node.items() if key != "allOf"}}
        if "$ref" in node:
            return self.after(self._schemas[node["$ref"].rpartition("/")[2]], depth)
        if "enum" in node:
            return self._chance.choice(node["enum"])
        if "oneOf" in node:
            return self.after(self._chance.choice(node["oneOf"]), depth)
        match node.get("type"):
            case "object":
                return self._object(node, depth)
            case "array":
                count = self._chance.randrange(3) if depth < _DEPTH_MAX else 0
                return [self.after(node.get("items", {}), depth + 1) for _ in range(count)]
            case "string":
                return self._text(node)
            case "integer":
                return self._chance.choice((0, 1, 7, 80, node.get("maximum", 9)))
            case "number":
                return self._chance.choice((0, 1.5))
            case "boolean":
                return self._chance.random() < 0.5
        return self._chance.choice(_ODD)

    def broken(self, value: Any) -> Any:
        """`value` with something odd in one place."""
        children = (
            list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        )
        if not children or self._chance.random() < 0.25:
            return self._chance.choice(_ODD)
        chosen = self._chance.choice(children)
        changed = dict(value) if isinstance(value, dict) else list(value)
        changed[chosen] = self.broken(value[chosen])
        return changed

    def _object(self, node: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = node.get("properties", {})
        share = 0.6 if depth < 4 else 0.3
        chosen = [name for name in properties if name in node.get("required", ()) or self._chance.random() < share]
        made = {} if depth > _DEPTH_MAX else {name: self.after(properties[name], depth + 1) for name in chosen}
        additional = node.get("additionalProperties")
        if isinstance(additional, dict) and depth <= _DEPTH_MAX:
            made |= {name: self.after(additional, depth + 1) for name in ("a", "b.c/d") if self._chance.random() < 0.5}
        return made

    def _text(self, node: dict[str, Any]) -> str:
        match node.get("format"):
            case "date-time":
                return "2020-01-02T03:04:05Z"
            case "byte":
                return "aGk="
        return self._chance.choice(("a", "app", "example.com/x", "80", "10.0.0.1", "ClusterIP", "Always", "{}"))


def _named(body: Any, namespace: str, *, is_namespaced: bool, kind: dict[str, str]) -> Any:
    if isinstance(body, dict):
        group_version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
        body |= {"apiVersion": group_version, "kind": kind["kind"]}
        metadata = body.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        own = {"name": "walked", **({"namespace": namespace} if is_namespaced else {})}
        # Owners that do not exist would take the object away, and finalizers would leave it behind.
        kept = {key: value for key, value in metadata.items() if key in ("labels", "annotations")}
        body["metadata"] = kept | own
    return body


def _check(answer: Any, what: str, body: Any) -> None:
    assert answer.status < 500, f"{what} answered {answer.status} {answer.data} to {body!r}"
    if answer.status >= 400:
        assert answer.data["kind"] == "Status", what
        assert answer.data["code"] == answer.status, what
        assert answer.data["reason"], what
        assert answer.data["message"], what


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("document", _DOCUMENTS)
async def test_every_operation_that_is_listed_answers_as_it_should(rig: Rig, document: str) -> None:
    chance = random.Random(document)
    listed = (await rig.api.get(f"/openapi/v3/{document}")).data
    bodies = _Bodies(listed, chance)
    namespace = await rig.namespace()
    for template, operations in listed["paths"].items():
        post = operations.get("post")
        if post is None:
            continue
        kind = post["x-kubernetes-group-version-kind"]
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        path = template.replace("{namespace}", namespace)
        is_namespaced = path != template
        for number in range(BODIES):
            body = bodies.after(schema)
            if number % 2:
                body = bodies.broken(body)
            body = _named(body, namespace, is_namespaced=is_namespaced, kind=kind)
            created = await rig.api.call("POST", path, body)
            _check(created, f"POST {path}", body)
            if "get" in operations:
                assert operations.keys() == {"get", "post", "delete", "parameters"}
                await _walk_one(rig.api, f"{path}/walked", created, bodies, body, is_created=created.status == 201)
    stray = await rig.api.get("/readyz")
    assert stray.status == 200


@pytest.mark.asyncio(loop_scope="session")
async def test_a_method_that_is_not_listed_is_answered_405_with_those_that_are(rig: Rig) -> None:
    for document in (await rig.api.get("/openapi/v3")).data["paths"]:
        for path, item in (await rig.api.get(f"/openapi/v3/{document}")).data["paths"].items():
            listed = {method.upper() for method in item if method != "parameters"}
            other = next(method for method in ("POST", "PATCH", "OPTIONS", "GET") if method not in listed)
            answer = await rig.api.call(other, path.replace("{namespace}", "default").replace("{name}", "a"))
            assert (answer.status, answer.headers["Content-Type"]) == (405, "application/json"), f"{other} {path}"
            assert set(answer.headers["Allow"].split(", ")) == listed, path


async def _walk_one(api: Api, path: str, created: Any, bodies: _Bodies, body: Any, *, is_created: bool) -> None:
    """Everything that can be done with one object."""
    found = await api.get(path)
    assert found.status == (200 if is_created else 404), f"{path}: {found.data} after {created.data}"
    if is_created:
        assert found.data["metadata"]["uid"] == created.data["metadata"]["uid"]
    change = bodies.broken(body)
    for content_type in (MERGE_PATCH, STRATEGIC_PATCH, "application/apply-patch+yaml"):
        params = {"fieldManager": "walk", "dryRun": "All"}
        _check(await api.patch(path, change, content_type, **params), f"PATCH {path} {content_type}", change)
    for operation in ({"op": "add", "path": "/spec", "value": change}, {"op": "replace", "path": "", "value": change}):
        _check(await api.patch(path, [operation], JSON_PATCH, dryRun="All"), f"PATCH {path}", operation)
    for subresource in ("", "/status", "/scale"):
        _check(await api.call("PUT", path + subresource, change, dryRun="All"), f"PUT {path}{subresource}", change)
    if is_created:
        _check(await api.call("DELETE", path, {"gracePeriodSeconds": 0}), f"DELETE {path}", None)
        async with api.watch(path.rpartition("/")[0], fieldSelector="metadata.name=walked") as events:
            assert events.status == 200
        while (await api.get(path)).status == 200:  # namespaces and definitions end in their own time
            pass
