"""Kinds that come and go with definitions."""

from typing import Any

from tests.conformance.apiserver.cases import Case, case, delete, get, patch, post, put
from tests.conformance.apiserver.tables.objects import widget

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def _definition(group: str, **version: Any) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [served],
        },
    }


def _things(group: str) -> str:
    return f"/apis/{group}/v1/namespaces/$ns/things"


def _schema(name: str, *steps: Any) -> Case:
    return case(f"schema-{name}", *steps, of=(43,))


def _refused(rule: str, /, **spec: Any) -> Case:
    return _schema(rule, post("widgets", {**widget("a"), "spec": {"size": 1, **spec}}, status=422, reason="Invalid"))


_HELD = {"apiVersion": "ending.example/v1", "kind": "Thing", "metadata": {"name": "a", "finalizers": ["x.example/y"]}}

CASES = [
    case(
        "established-at-once",
        post(_DEFINITIONS, _definition("one.example"), has={"status.conditions.1.type": "Established",
                                                            "status.conditions.1.status": "True"}),
        post(_things("one.example"), {"metadata": {"name": "a"}}, has={"kind": "Thing"}),
        delete(f"{_DEFINITIONS}/things.one.example"),
        get(f"{_DEFINITIONS}/things.one.example", status=404, eventually=True),
        get(_things("one.example"), status=404),
        of=(44,),
    ),
    case(
        "a-schema-that-speaks-of-deletion-deletes-nothing",
        post(_DEFINITIONS, _definition("two.example", schema={"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": {
                "deletionTimestamp": {"type": "string"}}}}}})),
        post(_things("two.example"), {"metadata": {"name": "a"}}),
        patch(f"{_DEFINITIONS}/things.two.example", {"metadata": {"labels": {"k": "v"}}}),
        post("configmaps", {"metadata": {"name": "n", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "nobody"}]}}),
        get("configmaps/n", status=404, eventually=True),  # the collector has worked off what was before
        get(f"{_things('two.example')}/a"),
    ),
    case(
        "an-ending-definition-takes-nothing",
        post(_DEFINITIONS, _definition("ending.example")),
        post(_things("ending.example"), _HELD),
        delete(f"{_DEFINITIONS}/things.ending.example"),
        post(_things("ending.example"), {"metadata": {"name": "b"}}, status=405, says="terminating"),
        patch(f"{_things('ending.example')}/a", {"metadata": {"finalizers": None}}),
        get(f"{_DEFINITIONS}/things.ending.example", status=404, eventually=True),
    ),
    case(
        "a-definition-that-is-let-go-by-force",
        post(_DEFINITIONS, _definition("forced.example")),
        post(_things("forced.example"), {"metadata": {"name": "a", "finalizers": ["x.example/y"]}}),
        delete(f"{_DEFINITIONS}/things.forced.example"),
        patch(f"{_DEFINITIONS}/things.forced.example", {"metadata": {"finalizers": None}}),
        get(_things("forced.example"), status=404),
        post(_DEFINITIONS, _definition("forced.example")),
        get(_things("forced.example"), has={"items": []}),
    ),
    case(
        "of-the-wrong-name",
        post(_DEFINITIONS, {**_definition("x.example"), "metadata": {"name": "x"}}, status=422, reason="Invalid"),
    ),
    case(
        "without-a-storage-version",
        post(_DEFINITIONS, _definition("x.example", storage=False), status=422, reason="Invalid"),
    ),
    case(
        "two-versions-one-object",
        post("widgets", widget("a", size=2), save={"uid": "metadata.uid"}),
        get("/apis/test.example/v2/namespaces/$ns/widgets/a", has={
            "apiVersion": "test.example/v2", "spec.size": 2, "metadata.uid": "$uid",
        }),
        put("/apis/test.example/v2/namespaces/$ns/widgets/a", widget("a", "v2", size=3), has={
            "apiVersion": "test.example/v2",
        }),
        get("widgets/a", has={"apiVersion": "test.example/v1", "spec.size": 3, "metadata.generation": 2}),
        of=(43,),
    ),
    case(
        "the-path-decides-the-version",
        post("widgets", widget("a", "v2"), status=400),
        of=(43,),
    ),
    _schema("defaults", post("widgets", widget("a"), has={"spec.colour": "red"})),
    _schema("drops-unknown-fields", post("widgets", widget("a", unknown=1), lacks=("spec.unknown",))),
    _schema(
        "refuses-unknown-fields-when-asked",
        post("widgets", widget("a", unknown=1), params={"fieldValidation": "Strict"}, status=400,
             says='unknown field "spec.unknown"'),
    ),
    _schema("keeps-unknown-fields-where-told", post("widgets", widget("a", anything={"deep": [1]}), has={
        "spec.anything.deep": [1],
    })),
    _schema("drops-nulls", post("widgets", widget("a", colour=None), has={"spec.colour": "red"})),
    _schema("requires", post("widgets", {"metadata": {"name": "a"}, "spec": {}}, status=422, says="spec.size")),
    _refused("minimum", size=0),
    _refused("maximum", size=10),
    _refused("type", size="1"),
    _refused("fraction", size=1.5),
    _refused("enum", colour="green"),
    _refused("pattern", name="A"),
    _refused("length", name="abcdef"),
    _refused("items", plain=[1]),
    _refused("max-items", parts=[{"id": str(n)} for n in range(4)]),
    _refused("list-as-object", parts={}),
]  # fmt: skip
