"""Creating and replacing: identity, generation, conflicts, defaults."""

from tests.conformance.apiserver.cases import case, get, post, put, watch
from tests.conformance.apiserver.tables.objects import config_map, deployment, pod, service, widget

_MANY = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "many-"}}

CASES = [
    case(
        "identity-is-the-servers",
        post(
            "configmaps",
            {"metadata": {"name": "a", "uid": "mine", "resourceVersion": "7", "generation": 9, "selfLink": "/x"}},
            has={"metadata.generation": 1, "metadata.namespace": "$ns", "kind": "ConfigMap", "apiVersion": "v1"},
            lacks=("metadata.selfLink", "metadata.deletionTimestamp"),
            save={"uid": "metadata.uid", "rv": "metadata.resourceVersion"},
        ),
        get("configmaps/a", has={"metadata.uid": "$uid", "metadata.resourceVersion": "$rv"}),
        of=(24,),
    ),
    case(
        "creation-cannot-be-ending",
        post(
            "configmaps",
            {"metadata": {"name": "a", "deletionTimestamp": "2020-01-01T00:00:00Z"}},
            lacks=("metadata.deletionTimestamp",),
        ),
    ),
    case(
        "generated-names-differ",
        post("configmaps", _MANY, save={"one": "metadata.name"}, has={"metadata.generateName": "many-"}),
        post("configmaps", _MANY, save={"two": "metadata.name"}),
        get("configmaps/$one"),
        get("configmaps/$two"),
        get("configmaps", has={"items.#": 2}),
        of=(25,),
    ),
    case("a-name-is-needed", post("configmaps", {"metadata": {}}, status=422, reason="Invalid", says="required")),
    case(
        "a-taken-name",
        post("configmaps", config_map("a")),
        post(
            "configmaps",
            config_map("a"),
            status=409,
            reason="AlreadyExists",
            has={"details.name": "a", "details.kind": "configmaps"},
        ),
        of=(32,),
    ),
    case(
        "an-absent-object",
        get("ksvc/a", status=404, reason="NotFound", has={
            "details.name": "a", "details.group": "serving.knative.dev", "details.kind": "services",
        }),
        put("configmaps/a", config_map("a"), status=404, reason="NotFound"),
        of=(32, 56),
    ),
    case(
        "an-absent-namespace",
        post("/api/v1/namespaces/nowhere/configmaps", config_map("a"), status=404, reason="NotFound"),
    ),
    case(
        "of-another-namespace",
        post("configmaps", {"metadata": {"name": "a", "namespace": "default"}}, status=400, reason="BadRequest"),
    ),
    case(
        "of-another-kind",
        post("configmaps", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}, status=400),
        post("configmaps", {"apiVersion": "v2", "metadata": {"name": "a"}}, status=400),
    ),
    case("in-all-namespaces", post("/api/v1/configmaps", config_map("a"), status=405, reason="MethodNotAllowed")),
    case("at-a-name", post("configmaps/a", config_map("a"), status=405, reason="MethodNotAllowed")),
    case(
        "names-have-a-grammar",
        post("configmaps", config_map("Upper"), status=422, reason="Invalid"),
        post("configmaps", config_map("a" * 254), status=422, reason="Invalid"),
        post("configmaps", config_map("a" * 253)),
        post("services", service("1a"), status=422, reason="Invalid"),
        post("services", service("a" * 64), status=422, reason="Invalid"),
    ),
    case(
        "labels-have-a-grammar",
        post("configmaps", config_map("a", {"bad key": "x"}), status=422, reason="Invalid"),
        post("configmaps", config_map("a", {"key": "bad value"}), status=422, reason="Invalid"),
        post("configmaps", config_map("a", {"key": "x" * 64}), status=422, reason="Invalid"),
        post("configmaps", config_map("a", {"example.com/key": "x" * 63})),
    ),
    case(
        "owners-are-named-in-full",
        post(
            "configmaps",
            {"metadata": {"name": "a", "ownerReferences": [{"kind": "Pod", "name": "p"}]}},
            status=422,
            reason="Invalid",
        ),
    ),
    case(
        "generation-counts-changes-of-substance",
        post("deployments", deployment("a"), save={"all": ""}, has={"metadata.generation": 1}),
        put("deployments/a/status", {"metadata": {"name": "a"}, "status": {"replicas": 1}}, has={
            "metadata.generation": 1, "status.replicas": 1,
        }),
        put("deployments/a", deployment("a", replicas=2), has={"metadata.generation": 2, "status.replicas": 1}),
        put("deployments/a", deployment("a", replicas=2), has={"metadata.generation": 2}),
        of=(26,),
    ),
    case(
        "labels-do-not-raise-the-generation",
        post("configmaps", config_map("a")),
        put("configmaps/a", config_map("a", {"k": "v"}), has={"metadata.generation": 1, "metadata.labels.k": "v"}),
        of=(26,),
    ),
    case(
        "status-is-dropped-on-create",
        post("deployments", {**deployment("a"), "status": {"replicas": 7}}, lacks=("status.replicas",)),
        post("ksvc", {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "a"},
                      "spec": {"template": {"spec": {"containers": [{"image": "x"}]}}},
                      "status": {"url": "http://x"}}, lacks=("status.url",)),
        of=(28,),
    ),
    case(
        "status-is-ignored-in-the-main-resource",
        post("deployments", deployment("a")),
        put("deployments/a", {**deployment("a"), "status": {"replicas": 7}}, lacks=("status.replicas",)),
        of=(27,),
    ),
    case(
        "the-rest-is-ignored-in-status",
        post("deployments", deployment("a")),
        put(
            "deployments/a/status",
            {**deployment("a", replicas=9), "status": {"replicas": 7}},
            has={"spec.replicas": 1, "status.replicas": 7},
        ),
        of=(27,),
    ),
    case(
        "a-stale-put",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        put("configmaps/a", config_map("a", k="1")),
        put(
            "configmaps/a",
            {"metadata": {"name": "a", "resourceVersion": "$rv"}},
            status=409,
            reason="Conflict",
            says="the object has been modified",
        ),
        of=(29,),
    ),
    case(
        "a-stale-put-of-status",
        post("deployments", deployment("a"), save={"rv": "metadata.resourceVersion"}),
        put("deployments/a", deployment("a", replicas=2)),
        put(
            "deployments/a/status",
            {"metadata": {"name": "a", "resourceVersion": "$rv"}, "status": {}},
            status=409,
            reason="Conflict",
        ),
        of=(29,),
    ),
    case(
        "a-fresh-put",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        put("configmaps/a", {"metadata": {"name": "a", "resourceVersion": "$rv"}, "data": {"k": "1"}}),
        of=(29,),
    ),
    case(
        "a-put-without-version",
        post("configmaps", config_map("a")),
        put("configmaps/a", config_map("a", k="1"), has={"data.k": "1"}),
        of=(29,),
    ),
    case(
        "a-put-of-another-uid",
        post("configmaps", config_map("a")),
        put("configmaps/a", {"metadata": {"name": "a", "uid": "gone"}}, status=409, reason="Conflict"),
    ),
    case(
        "a-put-of-another-name",
        post("configmaps", config_map("a")),
        put("configmaps/a", config_map("b"), status=400, reason="BadRequest"),
    ),
    case(
        "a-put-replaces-all",
        post("configmaps", config_map("a", {"l": "1"}, one="1", two="2")),
        put("configmaps/a", config_map("a", one="1"), lacks=("data.two", "metadata.labels")),
    ),
    case(
        "no-op-put-keeps-the-version",
        post("configmaps", config_map("a", k="1"), save={"rv": "metadata.resourceVersion"}),
        put("configmaps/a", config_map("a", k="1"), has={"metadata.resourceVersion": "$rv"}),
        put("configmaps/a", config_map("a", k="2")),
        watch("configmaps", ("MODIFIED", "a"), params={"resourceVersion": "$rv"}),
        of=(31,),
    ),
    case(
        "no-op-put-of-status",
        post("deployments", deployment("a")),
        put("deployments/a/status", {"metadata": {"name": "a"}, "status": {"replicas": 1}}, save={
            "rv": "metadata.resourceVersion",
        }),
        put("deployments/a/status", {"metadata": {"name": "a"}, "status": {"replicas": 1}}, has={
            "metadata.resourceVersion": "$rv",
        }),
        of=(31,),
    ),
    case(
        "versions-grow-over-all-kinds",
        post("configmaps", config_map("a"), save={"rv": "metadata.resourceVersion"}),
        post("pods", pod("a")),
        watch("pods", ("ADDED", "a"), params={"resourceVersion": "$rv"}),
        of=(16,),
    ),
    case(
        "a-dry-run-stores-nothing",
        post("configmaps", config_map("a"), params={"dryRun": "All"}, has={"metadata.name": "a"}),
        get("configmaps/a", status=404),
        post("configmaps", config_map("a")),
        put("configmaps/a", config_map("a", k="1"), params={"dryRun": "All"}, has={"data.k": "1"}),
        get("configmaps/a", lacks=("data.k",)),
    ),
    case(
        "a-dry-run-of-something-else",
        post("configmaps", config_map("a"), params={"dryRun": "Some"}, status=400),
    ),
    case(
        "a-dry-run-finds-conflicts",
        post("configmaps", config_map("a")),
        post("configmaps", config_map("a"), params={"dryRun": "All"}, status=409),
    ),
    case(
        "services-get-an-address",
        post("services", service("a"), save={"ip": "spec.clusterIP"}, has={
            "spec.type": "ClusterIP", "spec.ports.0.targetPort": 80, "spec.ports.0.protocol": "TCP",
        }),
        put("services/a", service("a", ports=[{"port": 81}]), has={
            "spec.clusterIP": "$ip", "spec.ports.0.targetPort": 81,
        }),
        put("services/a", service("a", clusterIP="10.96.99.99"), status=422, reason="Invalid"),
        of=(41, 42),
    ),
    case(
        "headless-services-have-none",
        post("services", service("a", clusterIP="None"), has={"spec.clusterIP": "None"}),
        of=(41,),
    ),
    case(
        "external-names-keep-target-port-zero",
        post(
            "services",
            service("a", type="ExternalName", externalName="x.example", ports=[{"port": 80, "targetPort": 0}]),
            has={"spec.ports.0.targetPort": 0},
            lacks=("spec.clusterIP",),
        ),
        of=(41,),
    ),
    case(
        "a-dry-run-takes-no-address",
        post("services", service("a", clusterIP="10.96.77.1"), params={"dryRun": "All"}),
        post("services", service("b", clusterIP="10.96.77.1")),
    ),
    case("deployments-have-one-replica", post("deployments", deployment("a"), has={"spec.replicas": 1}), of=(42,)),
    case(
        "a-selector-must-match-its-template",
        post("deployments", deployment("a", selector={"matchLabels": {"app": "b"}}), status=422, reason="Invalid"),
    ),
    case("a-pod-needs-containers", post("pods", pod("a", containers=[]), status=422, reason="Invalid")),
    case(
        "immutable-config",
        post("configmaps", {**config_map("a", k="1"), "immutable": True}),
        put("configmaps/a", {**config_map("a", k="2"), "immutable": True}, status=422, reason="Invalid"),
    ),
    case(
        "events-about-anything",
        post("events", {"metadata": {"name": "e"}, "involvedObject": {"kind": "Thing", "name": "t"}, "reason": "R"}),
        get("events", params={"fieldSelector": "involvedObject.name=t,reason=R"}, has={"items.#": 1}),
        of=(21, 63),
    ),
    case(
        "the-scale-of-a-deployment",
        post("deployments", deployment("a"), save={"rv": "metadata.resourceVersion"}),
        get("deployments/a/scale", has={
            "kind": "Scale", "apiVersion": "autoscaling/v1", "spec.replicas": 1, "status.selector": "app=a",
        }),
        put("deployments/a/scale", {"metadata": {"name": "a"}, "spec": {"replicas": 4}}, has={"spec.replicas": 4}),
        get("deployments/a", has={"spec.replicas": 4, "metadata.generation": 2}),
        put(
            "deployments/a/scale",
            {"metadata": {"name": "a", "resourceVersion": "$rv"}, "spec": {"replicas": 5}},
            status=409,
            reason="Conflict",
        ),
        of=(36,),
    ),
    case("no-scale-of-a-config-map", post("configmaps", config_map("a")), get("configmaps/a/scale", status=404)),
    case("no-status-of-a-config-map", post("configmaps", config_map("a")), get("configmaps/a/status", status=404)),
    case("unknown-parameters-are-accepted", get("configmaps", params={"unheard": "of"}), of=(60,)),
    case(
        "widgets-are-checked-by-their-schema",
        post("widgets", widget("a", size=99), status=422, reason="Invalid"),
        post("widgets", widget("a", size=9), has={"spec.colour": "red"}),
    ),
]  # fmt: skip
