"""Webhooks as programs register and answer them, over HTTPS with certificates of their own: statements 45 to 51."""

import base64
import ssl
from asyncio import Event
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from local_cluster.apiserver.certificates import CertificateAuthority
from tests.local_cluster.apiserver.raw import CONFIGMAPS, DEPLOYMENTS, Api, config_map, connected, deployment
from tests.support.api import RunningApiServer, running_api_server

_CA = CertificateAuthority.create()
_STRANGER = CertificateAuthority.create()
_CERTIFICATE = _CA.issue_server(["hook.default.svc"], ["127.0.0.1"])
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
_RULE = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}

Review = dict[str, Any]


class Hook:
    """A program that is asked about writes. Without an answer of its own it allows everything."""

    def __init__(self) -> None:
        self.asked: list[Review] = []
        self.heads: list[tuple[str, str]] = []
        self.answer: Callable[[Review], dict[str, Any]] = lambda request: {"allowed": True}
        self.status = 200
        self.raw: bytes | None = None
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one AdmissionReview."""
        review = await request.json()
        self.asked.append(review["request"])
        self.heads.append((request.headers["Host"], request.path_qs))
        response = {"uid": review["request"]["uid"], **self.answer(review["request"])}
        body = orjson.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
        return web.Response(
            status=self.status, body=body if self.raw is None else self.raw, content_type="application/json"
        )


@asynccontextmanager
async def listening(context: ssl.SSLContext | None) -> AsyncIterator[Hook]:
    hook = Hook()
    app = web.Application()
    app.router.add_post("/{tail:.*}", hook.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    hook.port = runner.addresses[0][1]
    try:
        yield hook
    finally:
        await runner.cleanup()


@pytest.fixture
async def running() -> AsyncIterator[RunningApiServer]:
    async with running_api_server() as running:
        yield running


@pytest.fixture
async def api(running: RunningApiServer) -> AsyncIterator[Api]:
    async with connected(running.config) as api:
        yield api


@pytest.fixture
async def hook(api: Api) -> AsyncIterator[Hook]:
    """A program behind the Service `hook`, reached at the port 443 of its name."""
    async with listening(_CERTIFICATE.ssl_context()) as hook:
        ports = [{"name": "https", "port": 443, "targetPort": 8443}]
        metadata = {"name": "hook"}
        await api.create("/api/v1/namespaces/default/services", {"metadata": metadata, "spec": {"ports": ports}})
        subset = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "https", "port": hook.port}]}
        await api.create("/api/v1/namespaces/default/endpoints", {"metadata": metadata, "subsets": [subset]})
        yield hook


def entry(name: str = "hook.example.com", **fields: Any) -> dict[str, Any]:
    client = {
        "service": {"name": "hook", "namespace": "default", "path": "/defaulting"},
        "caBundle": base64.b64encode(_CA.certificate_pem).decode(),
    }
    defaults = {"rules": [_RULE], "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": client}
    return {"name": name, **defaults, **fields}


async def register(api: Api, plural: str, *entries: dict[str, Any], name: str = "hooks") -> str:
    path = f"{_CONFIGURATIONS}/{plural}webhookconfigurations"
    await api.create(path, {"metadata": {"name": name}, "webhooks": list(entries)})
    return f"{path}/{name}"


def patching(*operations: dict[str, Any]) -> Callable[[Review], dict[str, Any]]:
    patch = base64.b64encode(orjson.dumps(list(operations))).decode()
    return lambda request: {"allowed": True, "patch": patch, "patchType": "JSONPatch"}


async def test_45_a_mutating_webhook_changes_what_is_stored(api: Api, hook: Hook) -> None:
    await register(api, "mutating", entry())
    hook.answer = patching({"op": "add", "path": "/data", "value": {"by": "hook"}})
    assert (await api.create(CONFIGMAPS, config_map("a")))["data"] == {"by": "hook"}
    assert (await api.get(f"{CONFIGMAPS}/a")).data["data"] == {"by": "hook"}
    assert hook.heads == [("hook.default.svc:443", "/defaulting?timeout=10s")]


async def test_45_mutating_webhooks_run_in_order_and_before_validating_ones(api: Api, hook: Hook) -> None:
    await register(api, "validating", entry("check.example.com"), name="a")
    await register(api, "mutating", entry("second.example.com"), name="c")
    await register(api, "mutating", entry("first.example.com"), name="b")

    def answer(request: Review) -> dict[str, Any]:
        count = len(hook.asked)
        return patching({"op": "add", "path": f"/data/k{count}", "value": str(count)})(request)

    hook.answer = answer
    stored = await api.create(CONFIGMAPS, config_map("a", own="0"))
    # A validating webhook's patch counts for nothing.
    assert stored["data"] == {"own": "0", "k1": "1", "k2": "2"}
    assert [sorted(request["object"]["data"]) for request in hook.asked] == [
        ["own"],
        ["k1", "own"],
        ["k1", "k2", "own"],
    ]


@pytest.mark.parametrize("patch", [b"null", b"[]", b""], ids=["the literal null", "no operation", "nothing"])
async def test_47_a_patch_that_says_nothing_changes_nothing(api: Api, hook: Hook, patch: bytes) -> None:
    await register(api, "mutating", entry())
    encoded = base64.b64encode(patch).decode()
    hook.answer = lambda request: {"allowed": True, "patch": encoded, "patchType": "JSONPatch"}
    assert (await api.create(CONFIGMAPS, config_map("a", k="1")))["data"] == {"k": "1"}


async def test_28_a_status_that_a_webhook_adds_is_dropped(api: Api, hook: Hook) -> None:
    rule = _RULE | {"apiGroups": ["apps"], "resources": ["deployments"]}
    await register(api, "mutating", entry(rules=[rule]))
    hook.answer = patching({"op": "add", "path": "/status", "value": {"replicas": 9}})
    assert "replicas" not in (await api.create(DEPLOYMENTS, deployment("a"))).get("status", {})
    await api.patch(f"{DEPLOYMENTS}/a", {"spec": {"replicas": 2}})
    assert "replicas" not in (await api.get(f"{DEPLOYMENTS}/a")).data.get("status", {})


async def test_a_webhook_cannot_change_who_an_object_is(api: Api, hook: Hook) -> None:
    before = await api.create(CONFIGMAPS, config_map("a"))
    await register(api, "mutating", entry())
    hook.answer = patching(
        {"op": "replace", "path": "/metadata/name", "value": "b"},
        {"op": "replace", "path": "/metadata/uid", "value": "other"},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "1"},
        {"op": "add", "path": "/data/k", "value": "2"},
    )
    after = (await api.patch(f"{CONFIGMAPS}/a", {"data": {"j": "1"}})).data
    assert (after["metadata"]["name"], after["metadata"]["uid"]) == ("a", before["metadata"]["uid"])
    assert after["data"] == {"j": "1", "k": "2"}
    assert (await api.get(f"{CONFIGMAPS}/b")).status == 404


async def test_50_a_refusal_is_handed_through(api: Api, hook: Hook) -> None:
    await register(api, "validating", entry("config.webhook.example.com"))
    hook.answer = lambda request: {"allowed": False, "status": {"code": 400, "message": "invalid value: x"}}
    refused = await api.call("POST", CONFIGMAPS, config_map("a"))
    assert (refused.status, refused.data["reason"]) == (400, "BadRequest")
    assert refused.data["message"] == (
        'admission webhook "config.webhook.example.com" denied the request: invalid value: x'
    )
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 404


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        ({}, 400, "without explanation"),
        ({"code": 200}, 400, "without explanation"),
        ({"reason": "Because"}, 400, "denied the request: Because"),
        ({"code": 403, "reason": "Forbidden", "message": "no"}, 403, "denied the request: no"),
    ],
)
async def test_50_a_refusal_is_always_one(api: Api, hook: Hook, status: dict[str, Any], code: int, says: str) -> None:
    await register(api, "mutating", entry())
    hook.answer = lambda request: {"allowed": False, "status": status}
    refused = await api.call("POST", CONFIGMAPS, config_map("a"))
    assert refused.status == code
    assert says in refused.data["message"]


async def test_49_and_51_a_webhook_sees_the_caller_the_merged_and_the_stored_object(
    running: RunningApiServer, api: Api, hook: Hook
) -> None:
    await api.create(CONFIGMAPS, config_map("a", k="1"))
    await register(api, "validating", entry())
    await api.patch(f"{CONFIGMAPS}/a", {"data": {"l": "2"}})
    await api.call("DELETE", f"{CONFIGMAPS}/a")
    update, delete = hook.asked
    assert update["operation"] == "UPDATE"
    assert update["userInfo"]["username"] == "kubernetes-admin"
    assert update["object"]["data"] == {"k": "1", "l": "2"}
    assert update["oldObject"]["data"] == {"k": "1"}
    assert (update["namespace"], update["name"], update["dryRun"]) == ("default", "a", False)
    assert update["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert update["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (delete["operation"], delete["object"]) == ("DELETE", None)
    assert delete["oldObject"]["data"] == {"k": "1", "l": "2"}


async def test_45_subresources_are_their_own_resources(api: Api, hook: Hook) -> None:
    await api.create(DEPLOYMENTS, deployment("a"))
    rule = _RULE | {"apiGroups": ["apps"], "resources": ["deployments/status"]}
    await register(api, "validating", entry(rules=[rule]))
    await api.patch(f"{DEPLOYMENTS}/a", {"spec": {"replicas": 2}})
    await api.patch(f"{DEPLOYMENTS}/a/status", {"status": {"replicas": 2}})
    assert [request["subResource"] for request in hook.asked] == ["status"]


_OTHERS: list[dict[str, Any]] = [
    {"operations": ["DELETE"]},
    {"apiGroups": ["apps"]},
    {"apiVersions": ["v2"]},
    {"resources": ["secrets"]},
    {"resources": ["configmaps/status"]},
    {"scope": "Cluster"},
]


@pytest.mark.parametrize("change", _OTHERS)
async def test_45_what_no_rule_means_is_not_asked_about(api: Api, hook: Hook, change: dict[str, Any]) -> None:
    await register(api, "validating", entry(rules=[_RULE | change]))
    await api.create(CONFIGMAPS, config_map("a"))
    assert hook.asked == []


@pytest.mark.parametrize("resources", [["*"], ["*/*"], ["configmaps/*", "configmaps"]])
async def test_45_rules_may_mean_all(api: Api, hook: Hook, resources: list[str]) -> None:
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}
    await register(api, "validating", entry(rules=[rule]))
    await api.create(CONFIGMAPS, config_map("a"))
    assert len(hook.asked) == 1


async def test_45_selectors_choose_by_labels_of_namespace_and_object(api: Api, hook: Hook) -> None:
    by_name = {"matchLabels": {"kubernetes.io/metadata.name": "default"}}
    excluded = {"matchExpressions": [{"key": "exclude", "operator": "DoesNotExist"}]}
    await register(api, "validating", entry(namespaceSelector=by_name, objectSelector=excluded))
    await api.create(CONFIGMAPS, config_map("a"))
    await api.create(CONFIGMAPS, config_map("b", {"exclude": "yes"}))
    await api.create("/api/v1/namespaces/kube-system/configmaps", config_map("c"))
    assert [request["name"] for request in hook.asked] == ["a"]


async def test_46_an_entry_without_certificate_or_rules_is_skipped(api: Api, hook: Hook) -> None:
    without = entry("a.example.com")
    del without["clientConfig"]["caBundle"]
    await register(api, "validating", without, entry("b.example.com", rules=[]))
    await api.create(CONFIGMAPS, config_map("a"))
    assert hook.asked == []


async def test_48_a_configuration_counts_as_soon_as_it_is_written(api: Api, hook: Hook) -> None:
    path = await register(api, "validating", entry(rules=[]))
    await api.create(CONFIGMAPS, config_map("a"))
    hook.answer = lambda request: {"allowed": False}
    await api.patch(path, {"webhooks": [entry()]})
    assert (await api.call("POST", CONFIGMAPS, config_map("b"))).status == 400
    await api.call("DELETE", path)
    assert (await api.call("POST", CONFIGMAPS, config_map("b"))).status == 201


async def test_nobody_is_locked_out_of_the_configurations(api: Api, hook: Hook) -> None:
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    path = await register(api, "validating", entry(rules=[rule]))
    hook.answer = lambda request: {"allowed": False}
    assert (await api.call("POST", CONFIGMAPS, config_map("a"))).status == 400
    assert (await api.call("DELETE", path)).status == 200


_BROKEN: list[dict[str, Any]] = [
    {"raw": b"not json"},
    {"raw": b"[]"},
    {"raw": b'{"response": {"allowed": true}}'},
    {"raw": b" " * (4 << 20)},
    {"status": 500},
    {"status": 302},
    {"answer": lambda request: {"allowed": True, "uid": "another"}},
    {"answer": lambda request: {"allowed": True, "patch": "!", "patchType": "JSONPatch"}},
    {"answer": lambda request: {"allowed": True, "patch": "W10=", "patchType": "Merge"}},
    {"answer": patching({"op": "remove", "path": "/none"})},
    {"answer": patching({"op": "replace", "path": "/metadata", "value": "gone"})},
]


@pytest.mark.parametrize("fault", _BROKEN, ids=[str(number) for number in range(len(_BROKEN))])
async def test_45_a_webhook_that_breaks_refuses_or_is_ignored_as_its_policy_says(
    api: Api, hook: Hook, fault: dict[str, Any]
) -> None:
    for name, value in fault.items():
        setattr(hook, name, value)
    path = await register(api, "mutating", entry())
    refused = await api.call("POST", CONFIGMAPS, config_map("a"))
    assert (refused.status, refused.data["reason"]) == (500, "InternalError")
    assert 'failed calling webhook "hook.example.com"' in refused.data["message"]
    await api.patch(path, {"webhooks": [entry(failurePolicy="Ignore")]})
    assert (await api.call("POST", CONFIGMAPS, config_map("a"))).status == 201


async def test_45_a_webhook_that_does_not_answer_in_time_has_failed(api: Api, hook: Hook) -> None:
    never = Event()

    async def wait(request: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", wait)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        client = {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/"}
        await register(api, "validating", entry(timeoutSeconds=1, clientConfig=client))
        refused = await api.call("POST", CONFIGMAPS, config_map("a"))
        assert "no answer within 1 s" in refused.data["message"]
    finally:
        never.set()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("policy", "calls"), [("IfNeeded", ["a", "b", "a"]), ("Never", ["a", "b"]), (None, ["a", "b"])]
)
async def test_45_a_webhook_is_asked_again_when_a_later_one_changed_the_object(
    api: Api, hook: Hook, policy: str | None, calls: list[str]
) -> None:
    def answer(request: Review) -> dict[str, Any]:
        data = request["object"]["data"]
        step = "a" if hook.heads[-1][1].startswith("/a") else "b"
        value = f"{data.get('way', '')}{step}"
        return patching({"op": "add", "path": "/data/way", "value": value})(request)

    hook.answer = answer
    service = entry()["clientConfig"]["service"]
    ca_bundle = entry()["clientConfig"]["caBundle"]
    entries = [
        entry(f"{step}.example.com", clientConfig={"service": {**service, "path": f"/{step}"}, "caBundle": ca_bundle})
        for step in ("a", "b")
    ]
    if policy is not None:
        entries[0]["reinvocationPolicy"] = policy
        entries[1]["reinvocationPolicy"] = policy
    await register(api, "mutating", *entries)
    created = await api.create(CONFIGMAPS, config_map("m", k="1"))
    asked = [head[1][1] for head in hook.heads]
    if policy == "IfNeeded":
        # The second one is asked again, too: what the first one did the second time is a change to it.
        assert asked == [*calls, "b"]
    else:
        assert asked == calls
    assert created["data"]["way"] == "".join(asked)


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"matchConditions": [{"name": "x", "expression": "true"}]}, "matchConditions", "this server evaluates no CEL"),
        ({"timeoutSeconds": 31}, "timeoutSeconds", "between 1 and 30 seconds"),
        ({"timeoutSeconds": 0}, "timeoutSeconds", "between 1 and 30 seconds"),
        ({"failurePolicy": "Perhaps"}, "failurePolicy", 'supported values: "Fail", "Ignore"'),
        ({"reinvocationPolicy": "Always"}, "reinvocationPolicy", 'supported values: "IfNeeded", "Never"'),
        ({"name": ""}, "name", "Required value"),
    ],
)
@pytest.mark.parametrize("plural", ["mutating", "validating"])
async def test_45_what_a_webhook_cannot_ask_for_is_refused_by_its_field(
    api: Api, plural: str, change: dict[str, Any], field: str, says: str
) -> None:
    if (plural, field) == ("validating", "reinvocationPolicy"):
        return  # they have none
    path = f"{_CONFIGURATIONS}/{plural}webhookconfigurations"
    body = {"metadata": {"name": "hooks"}, "webhooks": [{**entry(), **change}]}
    refused = await api.call("POST", path, body)
    assert (refused.status, refused.data["reason"]) == (422, "Invalid")
    assert f"webhooks[0].{field}: " in refused.data["message"]
    assert says in refused.data["message"]


async def test_a_webhook_with_another_certificate_is_not_believed(api: Api, hook: Hook) -> None:
    stranger = base64.b64encode(_STRANGER.certificate_pem).decode()
    client = {"service": {"name": "hook", "namespace": "default"}, "caBundle": stranger}
    await register(api, "validating", entry(clientConfig=client))
    assert (await api.call("POST", CONFIGMAPS, config_map("a"))).status == 500
    assert hook.asked == []


async def test_a_webhook_by_its_url(api: Api) -> None:
    async with listening(None) as plain:
        client = {"url": f"http://127.0.0.1:{plain.port}/check"}
        await register(api, "validating", entry(clientConfig=client))
        await api.create(CONFIGMAPS, config_map("a"))
        assert [path for _, path in plain.heads] == ["/check?timeout=10s"]


async def test_a_service_without_endpoints_is_told(api: Api) -> None:
    await register(api, "validating", entry())
    refused = await api.call("POST", CONFIGMAPS, config_map("a"))
    assert 'service "hook" not found' in refused.data["message"]


async def test_a_dry_run_asks_only_those_who_do_nothing_else(api: Api, hook: Hook) -> None:
    path = await register(api, "validating", entry())
    assert (await api.call("POST", CONFIGMAPS, config_map("a"), dryRun="All")).status == 201
    assert hook.asked[0]["dryRun"] is True
    await api.patch(path, {"webhooks": [entry(sideEffects="Some")]})
    refused = await api.call("POST", CONFIGMAPS, config_map("a"), dryRun="All")
    assert (refused.status, len(hook.asked)) == (400, 1)
    assert "does not support dry run" in refused.data["message"]


async def test_warnings_reach_the_writer(api: Api, hook: Hook) -> None:
    await register(api, "validating", entry())
    hook.answer = lambda request: {"allowed": True, "warnings": ["that is old"]}
    answer = await api.call("POST", CONFIGMAPS, config_map("a"))
    assert answer.headers["Warning"] == '299 - "that is old"'
