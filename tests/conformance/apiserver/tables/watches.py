"""Watches: resumption, selections, expiry."""

from tests.conformance.apiserver.cases import case, delete, get, patch, post, put, watch
from tests.conformance.apiserver.tables.objects import config_map, pod, widget

_INITIAL = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
_RED = {"labelSelector": "colour=red", "resourceVersion": "$rv"}
_START = get("configmaps", save={"rv": "metadata.resourceVersion"})
_AGED = post("configmaps", config_map("old"), save={"rv": "metadata.resourceVersion"})

CASES = [
    case(
        "exactly-the-later-events",
        post("configmaps", config_map("before"), save={"rv": "metadata.resourceVersion"}),
        post("configmaps", config_map("a")),
        put("configmaps/a", config_map("a", k="1")),
        delete("configmaps/a"),
        watch("configmaps", ("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), params={"resourceVersion": "$rv"}),
        of=(8, 13),
    ),
    case(
        "resumed-in-the-middle",
        post("configmaps", config_map("a")),
        put("configmaps/a", config_map("a", k="1"), save={"rv": "metadata.resourceVersion"}),
        put("configmaps/a", config_map("a", k="2")),
        delete("configmaps/a"),
        watch("configmaps", ("MODIFIED", "a"), ("DELETED", "a"), params={"resourceVersion": "$rv"}),
        of=(13,),
    ),
    case(
        "resumed-from-another-kinds-version",
        post("configmaps", config_map("a")),
        post("pods", pod("p"), save={"rv": "metadata.resourceVersion"}),
        post("configmaps", config_map("b")),
        watch("configmaps", ("ADDED", "b"), params={"resourceVersion": "$rv"}),
        of=(13, 16),
    ),
    case(
        "without-a-version-from-what-is-there",
        post("configmaps", config_map("b")),
        post("configmaps", config_map("a")),
        watch("configmaps", ("ADDED", "a"), ("ADDED", "b")),
        watch("configmaps", ("ADDED", "a"), ("ADDED", "b"), params={"resourceVersion": "0"}),
        of=(13,),
    ),
    case(
        "streaming-list",
        post("configmaps", config_map("a")),
        watch("configmaps", ("ADDED", "a"), ("BOOKMARK", ""), params=_INITIAL),
        of=(9, 10),
    ),
    case("streaming-list-of-nothing", watch("pods", ("BOOKMARK", ""), params=_INITIAL), of=(10,)),
    case(
        "streaming-list-after-a-known-version",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        watch("configmaps", ("ADDED", "a"), ("BOOKMARK", ""), params={**_INITIAL, "resourceVersion": "$rv"}),
        of=(11,),
    ),
    case(
        "streaming-list-after-an-expired-version",
        post("configmaps", config_map("a")),
        watch("configmaps", ("ADDED", "a"), ("BOOKMARK", ""), params={**_INITIAL, "resourceVersion": "1"}),
        of=(11, 14),
    ),
    case(
        "streaming-list-of-a-selection",
        post("configmaps", config_map("a", {"colour": "red"})),
        post("configmaps", config_map("b", {"colour": "blue"})),
        watch("configmaps", ("ADDED", "a"), ("BOOKMARK", ""), params={**_INITIAL, "labelSelector": "colour=red"}),
        of=(19,),
    ),
    case(
        "streaming-list-of-one-name",
        post("configmaps", config_map("a")),
        post("configmaps", config_map("b")),
        watch("configmaps", ("ADDED", "b"), ("BOOKMARK", ""), params={**_INITIAL, "fieldSelector": "metadata.name=b"}),
        of=(21,),
    ),
    case(
        "streaming-list-needs-its-match",
        get("configmaps", params={"watch": "true", "sendInitialEvents": "true"}, status=422, reason="Invalid"),
        get("configmaps", params={"watch": "true", "resourceVersionMatch": "NotOlderThan"}, status=422),
        of=(9,),
    ),
    case(
        "too-old",
        get("configmaps", params={"watch": "true", "resourceVersion": "1"}, status=410, reason="Expired"),
        of=(14,),
    ),
    case(
        "older-than-the-history",
        _AGED,
        *(put("configmaps/old", config_map("old", k=str(n))) for n in range(201)),
        get("configmaps", params={"watch": "true", "resourceVersion": "$rv"}, status=410, reason="Expired"),
        of=(14,),
    ),
    case(
        "newer-than-the-server-after-a-state-loss",
        get("configmaps", params={"watch": "true", "resourceVersion": "9" * 18}, status=410, reason="Expired"),
        of=(15,),
    ),
    case(
        "no-version",
        get("configmaps", params={"watch": "true", "resourceVersion": "new"}, status=422, reason="Invalid"),
    ),
    case(
        "leaving-a-selection",
        post("configmaps", config_map("a", {"colour": "red"}), save={"rv": "metadata.resourceVersion"}),
        put("configmaps/a", config_map("a", {"colour": "blue"})),
        watch("configmaps", ("DELETED", "a"), params=_RED),
        of=(20,),
    ),
    case(
        "entering-a-selection",
        post("configmaps", config_map("a", {"colour": "blue"}), save={"rv": "metadata.resourceVersion"}),
        put("configmaps/a", config_map("a", {"colour": "red"})),
        watch("configmaps", ("ADDED", "a"), params=_RED),
        of=(20,),
    ),
    case(
        "staying-in-a-selection",
        post("configmaps", config_map("a", {"colour": "red"}), save={"rv": "metadata.resourceVersion"}),
        put("configmaps/a", config_map("a", {"colour": "red", "size": "1"})),
        watch("configmaps", ("MODIFIED", "a"), params=_RED),
        of=(20,),
    ),
    case(
        "leaving-changing-and-entering",
        post("configmaps", config_map("a", {"colour": "red"}), save={"rv": "metadata.resourceVersion"}),
        put("configmaps/a", config_map("a")),
        put("configmaps/a", config_map("a", unseen="1")),
        put("configmaps/a", config_map("a", {"colour": "red"})),
        delete("configmaps/a"),
        watch("configmaps", ("DELETED", "a"), ("ADDED", "a"), ("DELETED", "a"), params=_RED),
        of=(20,),
    ),
    case(
        "deleted-outside-the-selection",
        post("configmaps", config_map("a", {"colour": "blue"}), save={"rv": "metadata.resourceVersion"}),
        delete("configmaps/a"),
        post("configmaps", config_map("b", {"colour": "red"})),
        watch("configmaps", ("ADDED", "b"), params=_RED),
        of=(20,),
    ),
    case(
        "entering-by-a-field",
        post("pods", pod("a"), save={"rv": "metadata.resourceVersion"}),
        patch("pods/a", {"spec": {"nodeName": "one"}}),
        watch("pods", ("ADDED", "a"), params={"fieldSelector": "spec.nodeName=one", "resourceVersion": "$rv"}),
        of=(20, 21),
    ),
    case(
        "leaving-by-a-field-of-status",
        post("pods", pod("a"), save={"rv": "metadata.resourceVersion"}),
        patch("pods/a/status", {"status": {"phase": "Running"}}),
        watch("pods", ("DELETED", "a"), params={"fieldSelector": "status.phase=Pending", "resourceVersion": "$rv"}),
        of=(20, 21),
    ),
    case(
        "one-namespace-of-many",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        post("/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": "x-"}}),
        post("configmaps", config_map("b")),
        watch("configmaps", ("ADDED", "b"), params={"resourceVersion": "$rv"}),
        of=(8,),
    ),
    case(
        "all-versions-of-a-kind-see-a-write",
        post("widgets", widget("a"), save={"rv": "metadata.resourceVersion"}),
        patch("widgets/a", {"spec": {"size": 2}}),
        watch("/apis/test.example/v2/namespaces/$ns/widgets", ("MODIFIED", "a"), params={"resourceVersion": "$rv"}),
        of=(43,),
    ),
    case(
        "a-dry-run-is-no-event",
        _START,
        post("configmaps", config_map("a"), params={"dryRun": "All"}),
        post("configmaps", config_map("b")),
        watch("configmaps", ("ADDED", "b"), params={"resourceVersion": "$rv"}),
    ),
    case(
        "a-refused-write-is-no-event",
        _START,
        post("configmaps", config_map("Bad"), status=422),
        post("configmaps", config_map("b")),
        watch("configmaps", ("ADDED", "b"), params={"resourceVersion": "$rv"}),
    ),
    case(
        "ending-after-a-timeout",
        get("pods", params={"watch": "true", "timeoutSeconds": "1", "timeout": "1s"}, says=""),
        of=(17,),
    ),
    case("of-an-unknown-kind", get("/apis/none.example/v1/things", params={"watch": "true"}, status=404)),
]
