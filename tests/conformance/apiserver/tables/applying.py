"""Server-side apply: who owns which field, conflicts, and what becomes of fields that are no longer applied."""

from typing import Any

from tests.conformance.apiserver.cases import JSON_PATCH, apply, case, get, patch, post, put, watch
from tests.conformance.apiserver.tables.objects import config_map, deployment, service, widget

_OWNERS = "metadata.managedFields"
_LAST = "kubectl.kubernetes.io/last-applied-configuration"


def _applied(name: str, **data: str) -> dict[str, Any]:
    return config_map(name, **data)


def _containers(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    body = deployment("a", **spec)
    body["spec"]["template"]["spec"]["containers"] = list(containers)
    return body


_POD = "spec.template.spec"
_OWN_A = {f"{_OWNERS}.0.manager": "one", f"{_OWNERS}.0.operation": "Apply", f"{_OWNERS}.0.fieldsType": "FieldsV1"}

CASES = [
    case(
        "creates",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201, has={
            **_OWN_A, f"{_OWNERS}.#": 1, f"{_OWNERS}.0.apiVersion": "v1",
            f"{_OWNERS}.0.fieldsV1": {"f:data": {"f:k": {}}},
        }),
        of=(33,),
    ),
    case(
        "nothing-at-all",
        apply("configmaps/a", {"apiVersion": "v1", "kind": "ConfigMap"}, "one", status=201, lacks=(_OWNERS,)),
        apply("configmaps/a", _applied("a", k="1"), "one", has={"data.k": "1", f"{_OWNERS}.#": 1}),
        apply("configmaps/a", {"apiVersion": "v1", "kind": "ConfigMap"}, "one", lacks=("data", _OWNERS)),
    ),
    case("needs-a-manager", patch("configmaps/a", _applied("a"), "application/apply-patch+yaml", status=400)),
    case("manager-too-long", apply("configmaps/a", _applied("a"), "m" * 129, status=400)),
    case("takes-yaml", apply("configmaps/a", b"apiVersion: v1\nkind: ConfigMap\ndata: {k: '1'}\n", "one", status=201,
                             has={"data.k": "1"})),
    case(
        "again-changes-nothing",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201, save={"rv": "metadata.resourceVersion"}),
        apply("configmaps/a", _applied("a", k="1"), "one", has={"metadata.resourceVersion": "$rv"}),
        apply("configmaps/a", _applied("a", k="2"), "one"),
        watch("configmaps", ("MODIFIED", "a"), params={"resourceVersion": "$rv"}),
        of=(31,),
    ),
    case(
        "a-conflict-names-manager-and-field",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201),
        apply("configmaps/a", _applied("a", k="2"), "two", status=409, reason="Conflict",
              says='Apply failed with 1 conflict: conflict with "one" using v1: .data.k',
              has={"details.causes.0.reason": "FieldManagerConflict", "details.causes.0.field": ".data.k"}),
        get("configmaps/a", has={"data.k": "1", f"{_OWNERS}.#": 1}),
    ),
    case(
        "several-conflicts-are-listed",
        apply("configmaps/a", _applied("a", k="1", m="1"), "one", status=201),
        apply("configmaps/a", _applied("a", k="2", m="2"), "two", status=409,
              says='Apply failed with 2 conflicts: conflicts with "one" using v1:\n- .data.k\n- .data.m'),
    ),
    case(
        "force-takes-over",
        apply("configmaps/a", _applied("a", k="1", m="1"), "one", status=201),
        apply("configmaps/a", _applied("a", k="2"), "two", force=True, has={
            "data": {"k": "2", "m": "1"},
            f"{_OWNERS}.0.fieldsV1": {"f:data": {"f:m": {}}},
            f"{_OWNERS}.1.manager": "two",
            f"{_OWNERS}.1.fieldsV1": {"f:data": {"f:k": {}}},
        }),
        apply("configmaps/a", _applied("a", k="1", m="1"), "one", status=409, says='conflict with "two"'),
    ),
    case(
        "equal-values-are-shared",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201),
        apply("configmaps/a", _applied("a", k="1"), "two", has={f"{_OWNERS}.#": 2}),
        apply("configmaps/a", _applied("a"), "one", has={"data.k": "1", f"{_OWNERS}.0.fieldsV1": {"f:data": {}}}),
        apply("configmaps/a", _applied("a"), "two", lacks=("data.k",)),
    ),
    case(
        "what-is-no-longer-applied-goes",
        apply("configmaps/a", _applied("a", k="1", m="1"), "one", status=201),
        apply("configmaps/a", _applied("a", k="1"), "one", has={"data": {"k": "1"}}),
    ),
    case(
        "labels-that-are-no-longer-applied-go",
        apply("configmaps/a", config_map("a", {"x": "1", "y": "1"}), "one", status=201),
        apply("configmaps/a", config_map("a", {"x": "1"}), "one", has={"metadata.labels": {"x": "1"}}),
        apply("configmaps/a", config_map("a"), "one", lacks=("metadata.labels",)),
    ),
    case(
        "others-fields-stay",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201),
        apply("configmaps/a", _applied("a", m="2"), "two", has={"data": {"k": "1", "m": "2"}}),
        apply("configmaps/a", _applied("a", k="3"), "one", has={"data": {"k": "3", "m": "2"}}),
    ),
    case(
        "a-named-update-owns-what-it-changes",
        apply("configmaps/a", _applied("a", k="1", m="1"), "one", status=201),
        patch("configmaps/a", {"data": {"k": "2"}}, params={"fieldManager": "edit"}, has={
            f"{_OWNERS}.1.manager": "edit", f"{_OWNERS}.1.operation": "Update",
            f"{_OWNERS}.1.fieldsV1": {"f:data": {"f:k": {}}},
        }),
        apply("configmaps/a", _applied("a", k="1", m="1"), "one", status=409, says='conflict with "edit" using v1 at'),
    ),
    case(
        "an-unnamed-update-is-called-by-its-agent",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201),
        patch("configmaps/a", {"data": {"k": "2"}}, headers={"User-Agent": "controller/v1.2 (linux)"}, has={
            f"{_OWNERS}.0.manager": "controller",
        }),
    ),
    case(
        "an-update-that-removes-takes-the-ownership-away",
        apply("configmaps/a", _applied("a", k="1", m="1"), "one", status=201),
        patch("configmaps/a", {"data": {"k": None}}, has={f"{_OWNERS}.0.fieldsV1": {"f:data": {"f:m": {}}}}),
        apply("configmaps/a", _applied("a", m="1"), "one", has={"data": {"m": "1"}}),
    ),
    case(
        "no-op-updates-change-no-owner",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201, save={"rv": "metadata.resourceVersion"}),
        patch("configmaps/a", {"data": {"k": "1"}}, params={"fieldManager": "edit"}, has={
            "metadata.resourceVersion": "$rv", f"{_OWNERS}.#": 1,
        }),
        of=(31,),
    ),
    case(
        "created-by-a-named-manager",
        post("configmaps", _applied("a", k="1"), params={"fieldManager": "kubectl-create"}, has={
            f"{_OWNERS}.0.manager": "kubectl-create", f"{_OWNERS}.0.operation": "Update",
        }),
        apply("configmaps/a", _applied("a", k="2"), "one", status=409, says='conflict with "kubectl-create"'),
    ),
    case(
        "before-the-first-apply",
        post("configmaps", _applied("a", k="1"), lacks=(_OWNERS,)),
        apply("configmaps/a", _applied("a", k="2"), "one", status=409, says='conflict with "before-first-apply"'),
        apply("configmaps/a", _applied("a", k="1", m="1"), "one", has={"data": {"k": "1", "m": "1"}}),
    ),
    case(
        "an-annotation-that-is-no-object-helps-nobody",
        post("configmaps", {**_applied("a", k="1"), "metadata": {"name": "a", "annotations": {_LAST: "[1]"}}}, params={
            "fieldManager": "kubectl-client-side-apply"}),
        apply("configmaps/a", _applied("a", k="2"), "kubectl", status=409),
    ),
    case(
        "only-kubectl-takes-over-from-its-client-side",
        post("configmaps", {**_applied("a", k="1"), "metadata": {"name": "a", "annotations": {
            _LAST: '{"data":{"k":"1"}}'}}}, params={"fieldManager": "kubectl-client-side-apply"}),
        apply("configmaps/a", _applied("a", k="2"), "another", status=409),
        apply("configmaps/a", _applied("a", k="2"), "kubectl", has={"data.k": "2"}),
        patch("configmaps/a", {"data": {"k": "3"}}, params={"fieldManager": "edit"}),
        apply("configmaps/a", _applied("a", k="4"), "kubectl", status=409, says='conflict with "edit"'),
    ),
    case(
        "writes-without-a-manager-record-none",
        post("configmaps", _applied("a", k="1")),
        put("configmaps/a", _applied("a", k="2"), lacks=(_OWNERS,)),
    ),
    case(
        "a-put-without-owners-keeps-them",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201),
        put("configmaps/a", _applied("a", k="1"), has={f"{_OWNERS}.0.manager": "one"}),
    ),
    case(
        "owners-can-be-dropped",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201),
        patch("configmaps/a", {"metadata": {"managedFields": [{}]}}, lacks=(_OWNERS,)),
    ),
    case(
        "owners-can-be-renamed",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201),
        patch(
            "configmaps/a",
            [{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "two"}],
            JSON_PATCH,
            has={f"{_OWNERS}.0.manager": "two", f"{_OWNERS}.#": 1},
        ),
        apply("configmaps/a", _applied("a", k="2"), "two", has={"data.k": "2"}),
    ),
    case(
        "owners-are-not-applied",
        apply("configmaps/a", {**_applied("a"), "metadata": {"name": "a", "managedFields": [{"manager": "x"}]}}, "one",
              status=400, says="managedFields must be nil"),
    ),
    case(
        "containers-belong-to-their-managers",
        apply("deployments/a", _containers({"name": "app", "image": "app:1"}), "one", status=201),
        apply("deployments/a", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {
            "template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}}, "two", has={
            f"{_POD}.containers.#": 2,
        }),
        apply("deployments/a", _containers({"name": "app", "image": "app:2"}), "one", has={
            f"{_POD}.containers.#": 2, f"{_POD}.containers.0.image": "app:2",
        }),
        apply("deployments/a", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}, "two", has={
            f"{_POD}.containers.#": 1, f"{_POD}.containers.0.name": "app",
        }),
        of=(33,),
    ),
    case(
        "a-conflict-inside-a-container",
        apply("deployments/a", _containers({"name": "app", "image": "app:1"}), "one", status=201),
        apply("deployments/a", _containers({"name": "app", "image": "app:2"}), "two", status=409,
              says='.spec.template.spec.containers[name="app"].image'),
    ),
    case(
        "a-member-of-a-container-goes-and-its-name-stays",
        apply("deployments/a", _containers({"name": "app", "image": "app:1", "args": ["x"]}), "one", status=201),
        apply("deployments/a", _containers({"name": "app", "image": "app:1"}), "one", has={
            f"{_POD}.containers.0.name": "app",
        }, lacks=(f"{_POD}.containers.0.args",)),
    ),
    case(
        "plain-lists-are-one-field",
        apply("deployments/a", _containers({"name": "app", "image": "app:1", "args": ["x"]}), "one", status=201),
        apply("deployments/a", _containers({"name": "app", "image": "app:1", "args": ["y"]}), "two", status=409,
              says=".args"),
    ),
    case(
        "replicas-are-left-to-the-autoscaler",
        apply("deployments/a", deployment("a"), "one", status=201),
        patch("deployments/a/scale", {"spec": {"replicas": 5}}, params={"fieldManager": "autoscaler"}),
        apply("deployments/a", deployment("a"), "one", has={"spec.replicas": 5}),
        apply("deployments/a", deployment("a", replicas=1), "one", status=409, says=".spec.replicas"),
    ),
    case(
        "service-ports-by-port-and-protocol",
        apply("services/a", service("a", ports=[{"port": 53, "name": "t"}]), "one", status=201),
        apply("services/a", service("a", ports=[{"port": 53, "protocol": "UDP", "name": "u"}]), "two", has={
            "spec.ports.#": 2,
        }),
    ),
    case(
        "an-element-twice",
        apply("deployments/a", _containers({"name": "app", "image": "1"}, {"name": "app", "image": "2"}), "one",
              status=400, says="duplicate entries for key"),
    ),
    case(
        "custom-lists-by-their-declared-keys",
        apply("widgets/a", widget("a", parts=[{"id": "x", "n": 1}]), "one", status=201),
        apply("widgets/a", widget("a", parts=[{"id": "y", "n": 2}]), "two", has={"spec.parts.#": 2}),
        apply("widgets/a", widget("a", parts=[{"id": "x", "n": 3}]), "two", status=409,
              says='.spec.parts[id="x"].n'),
    ),
    case(
        "custom-sets",
        apply("widgets/a", widget("a", tags=["x", "y"]), "one", status=201),
        apply("widgets/a", widget("a", tags=["y", "z"]), "two", has={"spec.tags": ["x", "y", "z"]}),
        apply("widgets/a", widget("a", tags=["x"]), "one", has={"spec.tags": ["x", "y", "z"]}),
        apply("widgets/a", widget("a"), "two", has={"spec.tags": ["x"]}),
    ),
    case(
        "custom-plain-lists",
        apply("widgets/a", widget("a", plain=["x"]), "one", status=201),
        apply("widgets/a", widget("a", plain=["y"]), "two", status=409, says=".spec.plain"),
    ),
    case(
        "status-apart",
        apply("widgets/a", {**widget("a"), "status": {"k": 1}}, "one", status=201, lacks=("status",)),
        apply("widgets/a/status", {**widget("a", size=5), "status": {"k": 1}}, "two", has={
            "status.k": 1, "spec.size": 1, f"{_OWNERS}.1.subresource": "status",
        }),
        apply("widgets/a/status", {**widget("a"), "status": {"k": 2}}, "three", status=409,
              says='with subresource "status"'),
        of=(27,),
    ),
    case("status-of-nothing", apply("widgets/a/status", {**widget("a"), "status": {}}, "one", status=404)),
    case(
        "with-a-stale-version",
        apply("configmaps/a", _applied("a", k="1"), "one", status=201, save={"rv": "metadata.resourceVersion"}),
        apply("configmaps/a", _applied("a", k="2"), "one"),
        apply("configmaps/a", {**_applied("a", k="3"), "metadata": {"name": "a", "resourceVersion": "$rv"}}, "one",
              status=409, reason="Conflict"),
        of=(30,),
    ),
    case(
        "a-dry-run",
        apply("configmaps/a", _applied("a"), "one", status=201, params={"dryRun": "All"}),
        get("configmaps/a", status=404),
        apply("configmaps/a", _applied("a", k="1"), "one", status=201),
        apply("configmaps/a", _applied("a", k="2"), "one", params={"dryRun": "All"}, has={"data.k": "2"}),
        get("configmaps/a", has={"data.k": "1"}),
    ),
    case(
        "strictly",
        apply("configmaps/a", {**_applied("a"), "dat": {}}, "one", status=400, params={"fieldValidation": "Strict"},
              says='unknown field "dat"'),
    ),
    case("another-name", apply("configmaps/a", _applied("b"), "one", status=400)),
    case("a-list", patch("configmaps/a", b"[]", "application/apply-patch+yaml", params={"fieldManager": "x"},
                         status=400)),
]  # fmt: skip
