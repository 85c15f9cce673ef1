"""Patches of all types, on objects, status and scale."""

from typing import Any

from tests.conformance.apiserver.cases import JSON_PATCH, MERGE, STRATEGIC, Case, Step, case, get, patch, post, watch
from tests.conformance.apiserver.tables.objects import config_map, deployment, widget


def _json(name: str, operations: list[dict[str, Any]], **expected: Any) -> Case:
    """A JSON patch of a ConfigMap with `data: {k: "1", l: "2"}`."""
    return case(
        f"json-{name}",
        post("configmaps", config_map("a", k="1", l="2")),
        patch("configmaps/a", operations, JSON_PATCH, **expected),
        of=(33,),
    )


def _operation(op: str, path: str, **members: Any) -> dict[str, Any]:
    return {"op": op, "path": path, **members}


def _strategic(name: str, change: dict[str, Any], **expected: Any) -> Case:
    """A strategic patch of the pod template's spec of a Deployment with one container `app`."""
    body = {"spec": {"template": {"spec": change}}}
    return case(
        f"strategic-{name}",
        post("deployments", deployment("a")),
        patch("deployments/a", body, STRATEGIC, **expected),
        of=(33,),
    )


_POD = "spec.template.spec"


def _stale(name: str, content_type: str) -> Case:
    return case(
        f"a-stale-{name}-patch",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        patch("configmaps/a", {"data": {"k": "1"}}),
        patch(
            "configmaps/a",
            {"metadata": {"resourceVersion": "$rv", "finalizers": ["a.example/f"]}},
            content_type,
            status=409,
            reason="Conflict",
        ),
        get("configmaps/a", lacks=("metadata.finalizers",)),
        of=(30,),
    )


def _refused(name: str, step: Step) -> Case:
    return case(f"refused-{name}", post("configmaps", config_map("a", k="1")), step)


CASES = [
    _stale("merge", MERGE),
    _stale("strategic", STRATEGIC),
    case(
        "a-fresh-merge-patch",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        patch("configmaps/a", {"metadata": {"resourceVersion": "$rv"}, "data": {"k": "1"}}, has={"data.k": "1"}),
        of=(30,),
    ),
    case(
        "a-patch-of-another-uid",
        post("configmaps", config_map("a")),
        patch("configmaps/a", {"metadata": {"uid": "gone"}}, status=409, reason="Conflict"),
    ),
    case(
        "no-op-merge-patch",
        post("configmaps", config_map("a", k="1"), save={"rv": "metadata.resourceVersion"}),
        patch("configmaps/a", {"data": {"k": "1"}}, has={"metadata.resourceVersion": "$rv"}),
        patch("configmaps/a", {}, has={"metadata.resourceVersion": "$rv"}),
        patch("configmaps/a", [], JSON_PATCH, has={"metadata.resourceVersion": "$rv"}),
        patch("configmaps/a", {"data": {"k": "1"}}, STRATEGIC, has={"metadata.resourceVersion": "$rv"}),
        patch("configmaps/a", {"data": {"k": "2"}}),
        watch("configmaps", ("MODIFIED", "a"), params={"resourceVersion": "$rv"}),
        of=(31,),
    ),
    case(
        "merge-removes-nulls",
        post("configmaps", config_map("a", {"l": "1"}, k="1", m="2")),
        patch("configmaps/a", {"data": {"k": None}, "metadata": {"labels": None}}, has={"data": {"m": "2"}}, lacks=(
            "metadata.labels",
        )),
        of=(33,),
    ),
    case(
        "merge-replaces-lists",
        post("widgets", widget("a", plain=["1", "2"])),
        patch("widgets/a", {"spec": {"plain": ["3"]}}, has={"spec.plain": ["3"], "metadata.generation": 2}),
        of=(33,),
    ),
    case(
        "merge-keeps-identity",
        post("configmaps", config_map("a"), save={"uid": "metadata.uid"}),
        patch(
            "configmaps/a",
            {"metadata": {"creationTimestamp": None, "generation": 77, "labels": {"l": "1"}}},
            has={"metadata.uid": "$uid", "metadata.generation": 1, "metadata.labels.l": "1"},
        ),
    ),
    case("merge-of-nothing", patch("configmaps/a", {"data": {}}, status=404, reason="NotFound")),
    _json("add", [_operation("add", "/data/m", value="3")], has={"data.m": "3"}),
    _json("add-over-existing", [_operation("add", "/data/k", value="3")], has={"data.k": "3"}),
    _json("replace", [_operation("replace", "/data/k", value="3")], has={"data.k": "3"}),
    _json("replace-absent", [_operation("replace", "/data/x", value="3")], status=422, reason="Invalid"),
    _json("remove", [_operation("remove", "/data/k")], lacks=("data.k",)),
    _json("remove-absent", [_operation("remove", "/data/x")], status=422, reason="Invalid"),
    _json("move", [_operation("move", "/data/m", **{"from": "/data/k"})], has={"data": {"m": "1", "l": "2"}}),
    _json("copy", [_operation("copy", "/data/m", **{"from": "/data/k"})], has={"data.m": "1", "data.k": "1"}),
    _json(
        "test-holds",
        [_operation("test", "/data/k", value="1"), _operation("remove", "/data/k")],
        lacks=("data.k",),
    ),
    _json(
        "test-fails-and-nothing-happens",
        [_operation("remove", "/data/l"), _operation("test", "/data/k", value="9")],
        status=422,
        reason="Invalid",
    ),
    _json("test-tells-text-from-number", [_operation("test", "/data/k", value=1)], status=422, reason="Invalid"),
    _json(
        "escaped-pointer",
        [_operation("add", "/metadata/annotations", value={}),
         _operation("add", "/metadata/annotations/a.example~1b", value="c")],
        has={"metadata.annotations": {"a.example/b": "c"}},
    ),
    _json("unknown-operation", [_operation("swap", "/data/k")], status=400),
    _json("without-value", [_operation("add", "/data/k")], status=400),
    _json("no-pointer", [_operation("remove", "data/k")], status=400),
    _json(
        "many-operations",
        [_operation("test", "/data/k", value="1")] * 10_001,
        status=400,
    ),
    _json(
        "copies-without-end",
        [_operation("add", "/metadata/annotations", value={"a": "x" * 1000}),
         *(_operation("copy", f"/metadata/annotations/a{n}", **{"from": "/metadata"}) for n in range(40))],
        status=400,
        says="exceed",
    ),
    _json("stale-version", [_operation("replace", "/metadata/resourceVersion", value="1")], status=409,
          reason="Conflict"),
    _strategic("merges-by-name", {"containers": [{"name": "app", "image": "app:2"}]}, has={
        f"{_POD}.containers.#": 1,
        f"{_POD}.containers.0.image": "app:2",
        f"{_POD}.containers.0.env.0.value": "1",
    }),
    _strategic("adds", {"containers": [{"name": "side", "image": "s"}]}, has={f"{_POD}.containers.#": 2}),
    _strategic(
        "deletes",
        {"containers": [{"name": "app", "$patch": "delete"}, {"name": "side", "image": "s"}]},
        has={f"{_POD}.containers.#": 1, f"{_POD}.containers.0.name": "side"},
    ),
    _strategic(
        "replaces",
        {"containers": [{"name": "side", "image": "s"}, {"$patch": "replace"}]},
        has={f"{_POD}.containers.#": 1, f"{_POD}.containers.0.name": "side"},
    ),
    _strategic(
        "merges-deeper",
        {"containers": [{"name": "app", "env": [{"name": "B", "value": "2"}]}]},
        has={f"{_POD}.containers.0.env.#": 2},
    ),
    _strategic(
        "orders",
        {
            "containers": [{"name": "side", "image": "s"}],
            "$setElementOrder/containers": [{"name": "side"}, {"name": "app"}],
        },
        has={f"{_POD}.containers.0.name": "side"},
    ),
    _strategic("without-its-key", {"containers": [{"image": "s"}]}, status=400),
    _strategic("unknown-directive", {"$patch": "explode"}, status=400),
    case(
        "strategic-is-not-for-custom-kinds",
        post("widgets", widget("a")),
        patch("widgets/a", {"spec": {"size": 2}}, STRATEGIC, status=415, reason="UnsupportedMediaType"),
        of=(34,),
    ),
    case(
        "strategic-for-events",
        post("events", {"metadata": {"name": "e"}, "involvedObject": {"name": "t"}, "count": 1}),
        patch("events/e", {"count": 2, "message": "again"}, STRATEGIC, has={"count": 2, "message": "again"}),
        of=(63,),
    ),
    case(
        "status-by-merge",
        post("deployments", deployment("a")),
        patch("deployments/a/status", {"status": {"replicas": 2}, "spec": {"replicas": 9}}, has={
            "status.replicas": 2, "spec.replicas": 1, "metadata.generation": 1,
        }),
        of=(35,),
    ),
    case(
        "status-by-json",
        post("widgets", widget("a")),
        patch("widgets/a/status", [_operation("add", "/status", value={"ok": True})], JSON_PATCH, has={
            "status.ok": True,
        }),
        of=(35,),
    ),
    case(
        "status-is-not-patched-with-the-rest",
        post("widgets", widget("a")),
        patch("widgets/a", {"status": {"ok": True}}, lacks=("status",)),
        of=(27,),
    ),
    case(
        "scale-by-merge",
        post("deployments", deployment("a")),
        patch("deployments/a/scale", {"spec": {"replicas": 0}}, has={"kind": "Scale", "spec.replicas": 0}),
        get("deployments/a", has={"spec.replicas": 0, "metadata.generation": 2}),
        of=(35, 36),
    ),
    case(
        "scale-by-json-where-there-was-none",
        post("widgets", widget("a")),
        patch("widgets/a/scale", [_operation("add", "/spec/replicas", value=3)], JSON_PATCH, has={
            "spec.replicas": 3,
        }),
        get("widgets/a", has={"spec.replicas": 3}),
        of=(35, 36),
    ),
    case(
        "scale-below-zero",
        post("deployments", deployment("a")),
        patch("deployments/a/scale", {"spec": {"replicas": -1}}, status=422, reason="Invalid"),
    ),
    case(
        "a-dry-run",
        post("configmaps", config_map("a", k="1")),
        patch("configmaps/a", {"data": {"k": "2"}}, params={"dryRun": "All"}, has={"data.k": "2"}),
        get("configmaps/a", has={"data.k": "1"}),
    ),
    case(
        "unknown-fields-strictly",
        post("deployments", deployment("a")),
        patch("deployments/a", {"spec": {"replica": 2}}, params={"fieldValidation": "Strict"}, status=400,
              says='unknown field "spec.replica"'),
    ),
    case(
        "what-is-patched-is-checked",
        post("widgets", widget("a")),
        patch("widgets/a", {"spec": {"size": 99}}, status=422, reason="Invalid"),
        patch("widgets/a", {"spec": {"size": None}}, status=422, reason="Invalid"),
    ),
    _refused("type", patch("configmaps/a", {}, "application/json", status=415, reason="UnsupportedMediaType")),
    _refused("merge-list", patch("configmaps/a", [], status=400)),
    _refused("merge-text", patch("configmaps/a", b'"text"', status=400)),
    _refused("json-object", patch("configmaps/a", {}, JSON_PATCH, status=400)),
    _refused("broken-json", patch("configmaps/a", b'{"data":', status=400)),
    _refused("whole-document", patch("configmaps/a", [_operation("replace", "", value=1)], JSON_PATCH, status=422)),
    _refused("new-name", patch("configmaps/a", {"metadata": {"name": "b"}}, status=400)),
    _refused("type-of-a-field", patch("configmaps/a", {"data": {"k": 5}}, status=400)),
    _refused(
        "growth",
        patch(
            "configmaps/a",
            [_operation("add", "/data/a", value="x" * 400_000),
             *(_operation("copy", f"/data/b{n}", **{"from": "/data/a"}) for n in range(4))],
            JSON_PATCH,
            status=413,
            reason="RequestEntityTooLarge",
        ),
    ),
]  # fmt: skip
