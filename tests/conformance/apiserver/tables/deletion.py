"""Finalizers, propagation, preconditions, grace periods, namespaces."""

from typing import Any

from tests.conformance.apiserver.cases import case, delete, get, patch, post, put, watch
from tests.conformance.apiserver.tables.objects import config_map, deployment, pod, widget

_MANAGED = {"apiVersion": "v1", "kind": "ConfigMap"}


def _held(name: str, *finalizers: str, **data: str) -> dict[str, Any]:
    held = config_map(name, **data)
    held["metadata"]["finalizers"] = list(finalizers or ("a.example/one",))
    return held


def _owned(name: str, *owners: str, block: bool = False) -> dict[str, Any]:
    """A ConfigMap whose owners are ConfigMaps, each by the name under which its UID was saved."""
    owned = config_map(name)
    owned["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": f"${owner}", "blockOwnerDeletion": block}
        for owner in owners
    ]
    return owned


def _owner(name: str) -> Any:
    return post("configmaps", config_map(name), save={name: "metadata.uid", "rv": "metadata.resourceVersion"})


def _gone(path: str) -> Any:
    return get(path, status=404, eventually=True)


CASES = [
    case(
        "at-once",
        post("configmaps", config_map("a"), save={"uid": "metadata.uid"}),
        delete("configmaps/a", has={
            "kind": "Status", "status": "Success", "details.name": "a", "details.kind": "configmaps",
            "details.uid": "$uid",
        }),
        get("configmaps/a", status=404),
        delete("configmaps/a", status=404, reason="NotFound"),
        of=(39,),
    ),
    case(
        "options-as-json",
        post("configmaps", config_map("a")),
        delete("configmaps/a", {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}),
        of=(39,),
    ),
    case(
        "options-as-protobuf",
        post("configmaps", config_map("a")),
        delete("configmaps/a", b"k8s\0\n\x13\n\x02v1\x12\rDeleteOptions\x12\x0c\"\nBackground",
               content_type="application/vnd.kubernetes.protobuf"),
        get("configmaps/a", status=404),
        of=(2, 39),
    ),
    case(
        "options-that-say-nothing-known",
        post("configmaps", config_map("a")),
        delete("configmaps/a", {"propagationPolicy": "Sideways"}, status=400),
        delete("configmaps/a", {"gracePeriodSeconds": "soon"}, status=400),
        delete("configmaps/a", {"preconditions": ["uid"]}, status=400),
        delete("configmaps/a", {"dryRun": ["Some"]}, status=400),
        get("configmaps/a"),
    ),
    case(
        "a-dry-run-by-parameter",
        post("configmaps", config_map("a")),
        delete("configmaps/a", params={"dryRun": "All"}),
        get("configmaps/a"),
    ),
    case(
        "a-dry-run-in-the-body",
        post("configmaps", config_map("a")),
        delete("configmaps/a", {"dryRun": ["All"]}),
        get("configmaps/a", lacks=("metadata.deletionTimestamp",)),
        delete("configmaps", {"dryRun": ["All"]}),
        get("configmaps/a"),
    ),
    case(
        "preconditions",
        post("configmaps", config_map("a"), save={"uid": "metadata.uid"}),
        delete("configmaps/a", {"preconditions": {"uid": "other"}}, status=409, reason="Conflict"),
        delete("configmaps/a", {"preconditions": {"resourceVersion": "1"}}, status=409, reason="Conflict"),
        delete("configmaps/a", {"preconditions": {"uid": "$uid"}}),
    ),
    case(
        "finalizers-hold",
        post("configmaps", _held("a", "a.example/one", "a.example/two"), save={"rv": "metadata.resourceVersion"}),
        delete("configmaps/a", has={"kind": "ConfigMap", "metadata.finalizers.#": 2}),
        patch("configmaps/a", {"metadata": {"finalizers": ["a.example/two"]}}),
        get("configmaps/a", save={"at": "metadata.deletionTimestamp"}),
        patch("configmaps/a", {"metadata": {"finalizers": []}}),
        get("configmaps/a", status=404),
        watch("configmaps", ("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), params={"resourceVersion": "$rv"}),
        of=(37,),
    ),
    case(
        "deleting-again-changes-nothing",
        post("configmaps", _held("a")),
        delete("configmaps/a", save={"rv": "metadata.resourceVersion"}),
        delete("configmaps/a", has={"metadata.resourceVersion": "$rv"}),
        of=(31, 37),
    ),
    case(
        "the-end-is-not-taken-back",
        post("configmaps", _held("a")),
        delete("configmaps/a", save={"at": "metadata.deletionTimestamp"}),
        put("configmaps/a", _held("a", k="1"), has={"metadata.deletionTimestamp": "$at", "data.k": "1"}),
        patch("configmaps/a", {"metadata": {"deletionTimestamp": None}}, has={"metadata.deletionTimestamp": "$at"}),
        of=(37,),
    ),
    case(
        "no-finalizer-is-added-at-the-end",
        post("configmaps", _held("a")),
        delete("configmaps/a"),
        patch("configmaps/a", {"metadata": {"finalizers": ["a.example/one", "b.example/x"]}}, status=422,
              reason="Invalid"),
    ),
    case(
        "status-is-written-to-the-end",
        post("widgets", {**widget("a"), "metadata": {"name": "a", "finalizers": ["a.example/one"]}}),
        delete("widgets/a"),
        put("widgets/a/status", {"metadata": {"name": "a", "finalizers": ["b.example/x"]}, "status": {"k": 1}}, has={
            "status.k": 1, "metadata.finalizers": ["a.example/one"],
        }),
    ),
    case(
        "a-name-is-free-again",
        post("configmaps", config_map("a"), save={"uid": "metadata.uid"}),
        delete("configmaps/a"),
        post("configmaps", config_map("a")),
        put("configmaps/a", {"metadata": {"name": "a", "uid": "$uid"}}, status=409, reason="Conflict"),
    ),
    case(
        "background",
        _owner("top"),
        post("configmaps", _owned("child", "top"), save={"child": "metadata.uid"}),
        post("configmaps", _owned("grandchild", "child")),
        delete("configmaps/top", {"propagationPolicy": "Background"}, has={"status": "Success"}),
        _gone("configmaps/child"),
        _gone("configmaps/grandchild"),
        of=(38,),
    ),
    case(
        "background-over-kinds",
        post("deployments", deployment("web"), save={"web": "metadata.uid"}),
        post("configmaps", {"metadata": {"name": "child", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "$web", "controller": True}]}}),
        delete("deployments/web"),
        _gone("configmaps/child"),
        of=(38,),
    ),
    case(
        "one-of-two-owners",
        _owner("first"),
        _owner("second"),
        post("configmaps", _owned("child", "first", "second")),
        delete("configmaps/first"),
        get("configmaps/child", has={"metadata.ownerReferences.#": 1, "metadata.ownerReferences.0.name": "second"},
            eventually=True),
        of=(38,),
    ),
    case(
        "an-owner-that-never-was",
        post("configmaps", {"metadata": {"name": "a", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "nobody"}]}}),
        _gone("configmaps/a"),
        of=(38,),
    ),
    case(
        "an-owner-in-another-namespace-is-none",
        post("/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": "far-"}}, save={
            "far": "metadata.uid",
        }),
        post("configmaps", _owned("a", "far")),
        _gone("configmaps/a"),
    ),
    case(
        "an-owner-of-the-whole-cluster",
        get("/api/v1/namespaces/$ns", save={"space": "metadata.uid"}),
        post("configmaps", {"metadata": {"name": "a", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Namespace", "name": "$ns", "uid": "$space"}]}}),
        _owner("other"),
        post("configmaps", _owned("b", "other")),
        delete("configmaps/other"),
        _gone("configmaps/b"),
        get("configmaps/a"),
    ),
    case(
        "foreground",
        _owner("top"),
        post("configmaps", _owned("child", "top", block=True)),
        delete("configmaps/top", {"propagationPolicy": "Foreground"}, has={
            "metadata.finalizers": ["foregroundDeletion"],
        }),
        _gone("configmaps/top"),
        get("configmaps/child", status=404),
    ),
    case(
        "foreground-waits-for-what-blocks",
        _owner("top"),
        post("configmaps", {**_owned("child", "top", block=True), "metadata": {
            **_owned("child", "top", block=True)["metadata"], "finalizers": ["a.example/one"]}}),
        delete("configmaps/top", {"propagationPolicy": "Foreground"}),
        get("configmaps/child", has={"metadata.deletionGracePeriodSeconds": 0}, eventually=True),
        get("configmaps/top", has={"metadata.finalizers": ["foregroundDeletion"]}),
        patch("configmaps/child", {"metadata": {"finalizers": None}}),
        _gone("configmaps/child"),
        _gone("configmaps/top"),
    ),
    case(
        "foreground-does-not-wait-for-what-does-not-block",
        _owner("top"),
        post("configmaps", {**_owned("child", "top"), "metadata": {
            **_owned("child", "top")["metadata"], "finalizers": ["a.example/one"]}}),
        delete("configmaps/top", {"propagationPolicy": "Foreground"}),
        _gone("configmaps/top"),
        get("configmaps/child", has={"metadata.finalizers.0": "a.example/one"}),
    ),
    case(
        "orphans",
        _owner("top"),
        post("configmaps", _owned("child", "top")),
        delete("configmaps/top", {"propagationPolicy": "Orphan"}, has={"metadata.finalizers": ["orphan"]}),
        _gone("configmaps/top"),
        get("configmaps/child", lacks=("metadata.ownerReferences",)),
    ),
    case(
        "orphans-by-the-old-word",
        _owner("top"),
        post("configmaps", _owned("child", "top")),
        delete("configmaps/top", {"orphanDependents": True}),
        _gone("configmaps/top"),
        get("configmaps/child", lacks=("metadata.ownerReferences",)),
    ),
    case(
        "a-pod-has-time-to-end",
        post("pods", pod("a", nodeName="one", terminationGracePeriodSeconds=7)),
        delete("pods/a", has={"metadata.deletionGracePeriodSeconds": 7, "kind": "Pod"}),
        delete("pods/a", {"gracePeriodSeconds": 3}, has={"metadata.deletionGracePeriodSeconds": 3}),
        delete("pods/a", {"gracePeriodSeconds": 9}, has={"metadata.deletionGracePeriodSeconds": 3}),
        delete("pods/a", {"gracePeriodSeconds": 0}, has={"status": "Success"}),
        get("pods/a", status=404),
    ),
    case("a-pod-without-node", post("pods", pod("a")), delete("pods/a", has={"status": "Success"})),
    case(
        "a-selection",
        post("configmaps", config_map("a", {"k": "1"})),
        post("configmaps", config_map("b", {"k": "2"})),
        delete("configmaps", params={"labelSelector": "k=1"}, has={"items.#": 1, "items.0.metadata.name": "a"}),
        get("configmaps", has={"items.#": 1}),
    ),
    case("all-of-all-namespaces", delete("/api/v1/configmaps", status=405)),
    case(
        "a-namespace-is-emptied",
        post("configmaps", config_map("a")),
        delete("/api/v1/namespaces/$ns", has={"status.phase": "Terminating"}),
        _gone("/api/v1/namespaces/$ns"),
        get("configmaps/a", status=404),
        of=(40,),
    ),
    case(
        "a-namespace-that-ends-takes-nothing",
        post("configmaps", _held("a")),
        delete("/api/v1/namespaces/$ns"),
        post("configmaps", config_map("b"), status=403, reason="Forbidden", has={
            "details.causes.0.reason": "NamespaceTerminating",
        }),
        put("configmaps/a", _held("a", k="1"), has={"data.k": "1"}),
        patch("configmaps/a", {"metadata": {"finalizers": None}}),
        _gone("/api/v1/namespaces/$ns"),
        of=(40,),
    ),
    case(
        "a-namespace-is-emptied-of-texts-that-speak-of-deletion",
        post("configmaps", config_map("a", deletionTimestamp="just a text")),
        delete("/api/v1/namespaces/$ns"),
        _gone("/api/v1/namespaces/$ns"),
        of=(40,),
    ),
    case(
        "the-default-namespace-stays",
        delete("/api/v1/namespaces/default", status=403, reason="Forbidden"),
    ),
]  # fmt: skip
