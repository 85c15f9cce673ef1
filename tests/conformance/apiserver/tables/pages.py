"""What the server says about itself, and to whom."""

from tests.conformance.apiserver.cases import case, get, post

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
_STRANGER = {"Authorization": "Bearer wrong"}
_NOBODY = {"Authorization": ""}

CASES = [
    case("version", get("/version", says="", has={"major": "1"}), of=(1,)),
    case("health-needs-no-token", get("/healthz", headers=_NOBODY, says="ok")),
    case("readiness-needs-no-token", get("/readyz", headers=_NOBODY, says="ok")),
    case("no-token", get("configmaps", headers=_NOBODY, status=401, reason="Unauthorized"), of=(65,)),
    case("wrong-token", get("configmaps", headers=_STRANGER, status=401, reason="Unauthorized"), of=(65,)),
    case(
        "basic-authentication-is-none",
        get("configmaps", headers={"Authorization": "Basic YTpi"}, status=401, reason="Unauthorized"),
    ),
    case(
        "token-without-scheme",
        get("configmaps", headers={"Authorization": "wrong"}, status=401, reason="Unauthorized"),
    ),
    case("strangers-write-nothing", post("configmaps", {}, headers=_STRANGER, status=401, reason="Unauthorized")),
    case("strangers-see-no-discovery", get("/apis", headers=_STRANGER, status=401, reason="Unauthorized")),
    case("strangers-see-no-openapi", get("/openapi/v3", headers=_STRANGER, status=401, reason="Unauthorized")),
    case("core-versions", get("/api", has={"versions": ["v1"]}), of=(57,)),
    case("groups", get("/apis", has={"kind": "APIGroupList"}), of=(57,)),
    case("one-group", get("/apis/apps", has={"preferredVersion.groupVersion": "apps/v1"}), of=(57,)),
    case("resources", get("/apis/apps/v1", has={"kind": "APIResourceList", "groupVersion": "apps/v1"}), of=(57,)),
    case(
        "aggregated",
        get("/apis", headers={"Accept": _AGGREGATED}, has={"kind": "APIGroupDiscoveryList"}),
        get("/api", headers={"Accept": _AGGREGATED}, has={"items.0.versions.0.version": "v1"}),
        of=(57,),
    ),
    case("openapi-index", get("/openapi/v3", save={"link": "paths.api/v1.serverRelativeURL"}), of=(58,)),
    case(
        "openapi-document",
        get("/openapi/v3/apis/apps/v1", has={"openapi": "3.0.0"}),
        of=(58,),
    ),
    case("openapi-of-nothing", get("/openapi/v3/apis/none/v1", status=404, reason="NotFound")),
    case("openapi-v2-is-404", get("/openapi/v2", status=404, reason="NotFound")),
    case("unknown-group", get("/apis/none.example", status=404, reason="NotFound")),
    case("unknown-version", get("/api/v9", status=404, reason="NotFound")),
    case("unknown-resource", get("/api/v1/nothings", status=404, reason="NotFound")),
    case("unknown-page", get("/nowhere", status=404, reason="NotFound")),
    case("name-with-a-slash", get("/api/v1/namespaces/default/configmaps/a%2Fb", status=404, reason="NotFound")),
    case("path-too-deep", get("/api/v1/namespaces/default/pods/a/log/b", status=404, reason="NotFound")),
    case("cluster-kind-in-a-namespace", get("/api/v1/namespaces/default/nodes", status=404, reason="NotFound")),
    case(
        "who-am-i",
        post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, has={
            "status.userInfo.username": "kubernetes-admin",
        }),
    ),
    case(
        "may-i",
        post(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}},
            has={"status.allowed": True},
        ),
    ),
    case(
        "may-they",
        post(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            {"spec": {"user": "someone", "resourceAttributes": {"verb": "get", "resource": "pods"}}},
            has={"status.allowed": True, "spec.user": "someone"},
        ),
    ),
    case(
        "whose-token-is-nobodys",
        post(
            "/apis/authentication.k8s.io/v1/tokenreviews",
            {"spec": {"token": "wrong"}},
            has={"status.authenticated": False},
        ),
    ),
    case("reviews-are-not-kept", get("/apis/authentication.k8s.io/v1/tokenreviews", status=405)),
]  # fmt: skip
