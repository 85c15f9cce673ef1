"""Lists: pages, exact versions, representations."""

from tests.conformance.apiserver.cases import case, delete, get, post
from tests.conformance.apiserver.tables.objects import config_map, pod, widget

_TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
_PARTIAL = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"}
_PROTOBUF = {"Accept": "application/vnd.kubernetes.protobuf,application/json"}
_FOUR = tuple(post("configmaps", config_map(name)) for name in "abcd")

CASES = [
    case("an-empty-list", get("configmaps", has={"items": [], "kind": "ConfigMapList", "apiVersion": "v1"})),
    case(
        "items-are-whole-and-sorted",
        post("configmaps", config_map("b")),
        post("configmaps", config_map("a")),
        get("configmaps", has={"items.0.metadata.name": "a", "items.0.kind": "ConfigMap", "items.1.apiVersion": "v1"}),
    ),
    case(
        "pages-show-one-moment",
        *_FOUR,
        get("configmaps", params={"limit": "2"}, save={"next": "metadata.continue", "rv": "metadata.resourceVersion"},
            has={"items.#": 2, "metadata.remainingItemCount": 2}),
        delete("configmaps/c"),
        post("configmaps", config_map("aa")),
        get("configmaps", params={"limit": "2", "continue": "$next"}, lacks=("metadata.continue",), has={
            "items.0.metadata.name": "c", "items.1.metadata.name": "d", "metadata.resourceVersion": "$rv",
        }),
        of=(22,),
    ),
    case(
        "the-last-page-may-be-larger",
        *_FOUR,
        get("configmaps", params={"limit": "1"}, save={"next": "metadata.continue"}),
        get("configmaps", params={"continue": "$next"}, has={"items.#": 3}, lacks=("metadata.continue",)),
        of=(22,),
    ),
    case(
        "a-limit-that-all-fit-into",
        *_FOUR,
        get("configmaps", params={"limit": "4"}, lacks=("metadata.continue", "metadata.remainingItemCount")),
        of=(22,),
    ),
    case(
        "a-token-of-another-list",
        *_FOUR,
        get("configmaps", params={"limit": "1"}, save={"next": "metadata.continue"}),
        get("pods", params={"continue": "$next"}, status=400),
        get("configmaps", params={"continue": "$next", "labelSelector": "a=b"}, status=400),
    ),
    case("a-token-of-nobody", get("configmaps", params={"continue": "!"}, status=400)),
    case("an-expired-token", get("configmaps", params={"continue": "WzAsMV0"}, status=410, reason="Expired"), of=(22,)),
    case("a-limit-that-is-none", get("configmaps", params={"limit": "few"}, status=400)),
    case("any-version", get("configmaps", params={"resourceVersion": "0"}), of=(13,)),
    case(
        "not-older-than",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        get("configmaps", params={"resourceVersion": "$rv", "resourceVersionMatch": "NotOlderThan"}, has={
            "items.#": 1,
        }),
    ),
    case(
        "exactly-the-newest",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        get("configmaps", params={"resourceVersion": "$rv", "resourceVersionMatch": "Exact"}, has={"items.#": 1}),
    ),
    case(
        "exactly-what-has-passed",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        post("configmaps", config_map("b")),
        get("configmaps", params={"resourceVersion": "$rv", "resourceVersionMatch": "Exact"}, status=410,
            reason="Expired"),
        of=(14,),
    ),
    case(
        "a-match-of-nothing",
        get("configmaps", params={"resourceVersionMatch": "Exact"}, status=400),
        get("configmaps", params={"resourceVersionMatch": "Exact", "resourceVersion": "0"}, status=400),
        get("configmaps", params={"resourceVersionMatch": "Roughly", "resourceVersion": "1"}, status=400),
    ),
    case(
        "a-version-from-the-future",
        get("configmaps", params={"resourceVersion": "9" * 18}, status=504, reason="Timeout"),
        of=(15,),
    ),
    case(
        "tables",
        post("widgets", widget("a", size=3)),
        get("widgets", headers=_TABLE, has={
            "kind": "Table", "columnDefinitions.1.name": "Size", "rows.0.cells": ["a", 3],
            "rows.0.object.kind": "PartialObjectMetadata",
        }),
        get("widgets", headers=_TABLE, params={"includeObject": "Object"}, has={"rows.0.object.kind": "Widget"}),
        get("widgets", headers=_TABLE, params={"includeObject": "None"}, lacks=("rows.0.object",)),
        get("widgets/a", headers=_TABLE, has={"kind": "Table", "rows.#": 1}),
        of=(59,),
    ),
    case(
        "metadata-alone",
        post("pods", pod("a")),
        get("pods", headers=_PARTIAL, has={"kind": "PartialObjectMetadataList", "items.0.metadata.name": "a"},
            lacks=("items.0.spec",)),
    ),
    case(
        "protobuf-is-answered-as-json",
        get("configmaps", headers=_PROTOBUF, has={"kind": "ConfigMapList"}),
        of=(6,),
    ),
    case(
        "protobuf-alone-is-406",
        get("configmaps", headers={"Accept": "application/vnd.kubernetes.protobuf"}, status=406),
    ),
]  # fmt: skip
