"""The webhook server: AdmissionReviews over TLS, answered as the local stack's admission answers."""

import asyncio
import base64
import copy
import dataclasses
import json
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controller.admission import Admission
from controller.config import WebhookConfig
from controller.self_signed import issue
from controller.webhook import WebhookApp, patch_between
from controller.webhook_tls import OwnCertificate
from kube.addresses import Address
from kube.client import Client
from kube.errors import Invalid
from kube.models import serving
from kube.models.core import ConfigMap, Namespace, Secret
from kube.models.meta import ObjectMeta
from local_cluster.apiserver.certificates import CertificateAuthority
from proxies.environment import ConfigError
from proxies.logs import Logger
from tests.controller.writes import Write, route, service
from tests.support.api import running_api_server
from tests.support.processes import eventually

SYSTEM = "knative-serving"
HOST = "webhook.knative-serving.svc"
AUTHORITY = CertificateAuthority.create()
Json = dict[str, Any]


class Server:
    """A running webhook, and its API."""

    def __init__(self, app: WebhookApp, client: Client, session: aiohttp.ClientSession) -> None:
        self.app = app
        self.client = client
        self.session = session

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        async with self.session.post(
            f"https://127.0.0.1:{self.app.port}{path}", json=body, ssl=trust(), server_hostname=HOST
        ) as response:
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else await response.text()

    async def ask(self, path: str, write: Write) -> Json:
        """The response within the review that is answered."""
        status, answer = await self.post(path, review(write))
        assert status == 200, answer
        assert answer["kind"] == "AdmissionReview"
        assert answer["response"]["uid"] == "u-1"
        found: Json = answer["response"]
        return found


def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode())


def review(write: Write) -> Json:
    asked = {
        "uid": "u-1",
        "kind": {"group": write.group, "version": "v1", "kind": write.kind},
        "operation": write.operation or "CREATE",
        "namespace": write.namespace,
        "name": write.name,
        "userInfo": {"username": write.username},
        "object": write.object,
        "oldObject": write.old_object or None,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}


def defaulted(obj: Json) -> Write:
    """A Service that has been through the first webhook."""
    return Write("Service", Admission({}.get).default(Write("Service", obj, operation="CREATE")))


def applied(obj: Json, response: Json) -> Json:
    """The object after the response's patch."""
    patched = copy.deepcopy(obj)
    assert response["patchType"] == "JSONPatch"
    for operation in json.loads(base64.b64decode(response["patch"])):
        *parents, last = [part for part in operation["path"].split("/") if part]
        target = patched
        for part in parents:
            target = target[part]
        if operation["op"] == "remove":
            del target[last]
        else:
            target[last] = operation["value"]
    return patched


def write_certificate(directory: Path, *names: str) -> None:
    issued = AUTHORITY.issue_server(names, [])
    (directory / "tls.crt").write_bytes(issued.certificate_pem)
    (directory / "tls.key").write_bytes(issued.key_pem)


@asynccontextmanager
async def running_webhook(directory: Path | None) -> AsyncIterator[Server]:
    if directory is not None and not (directory / "tls.crt").exists():
        write_certificate(directory, HOST)
    async with running_api_server() as api, Client(api.config) as client, aiohttp.ClientSession() as session:
        await client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        await client.create(ConfigMap(metadata=ObjectMeta(name="config-defaults", namespace=SYSTEM)))
        config = WebhookConfig(
            api=api.config,
            system_namespace=SYSTEM,
            certificate_directory=directory,
            address=Address("127.0.0.1", 0),
        )
        app = WebhookApp(config, Logger("webhook", write=lambda _line: None))
        try:
            await app.start()
            yield Server(app, client, session)
        finally:
            await app.stop()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_webhook(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    "obj", [service(), service(meta={"annotations": {"a": "b"}}), route({"revisionName": "web-1", "percent": 100})]
)
async def test_defaults_are_those_of_the_local_stack(server: Server, obj: Json) -> None:
    write = Write(obj["kind"], obj, operation="CREATE")
    response = await server.ask("/defaulting", write)
    wanted = Admission({}.get).default(Write(obj["kind"], copy.deepcopy(obj), operation="CREATE"))
    assert response["allowed"]
    assert applied(obj, response) == wanted
    assert wanted["metadata"]["annotations"]["serving.knative.dev/creator"] == "alice"


async def test_what_has_all_its_defaults_gets_no_patch(server: Server) -> None:
    write = Write("Revision", {"metadata": {"name": "r"}, "spec": {}}, {"metadata": {"name": "r"}}, operation="UPDATE")
    assert await server.ask("/defaulting", write) == {"uid": "u-1", "allowed": True}


async def test_a_refusal_has_the_text_that_users_know(server: Server) -> None:
    response = await server.ask("/resource-validation", defaulted(service({"timeoutSeconds": 601})))
    assert not response["allowed"]
    assert response["status"] == {
        "status": "Failure",
        "code": 400,
        "reason": "BadRequest",
        "message": "validation failed: expected 0 <= 601 <= 600: spec.template.spec.timeoutSeconds",
    }


async def test_warnings_pass_and_deletions_too(server: Server) -> None:
    obj = service(template_meta={"annotations": {"queue.sidecar.serving.knative.dev/resource-percentage": "20"}})
    response = await server.ask("/resource-validation", defaulted(obj))
    assert response["allowed"]
    assert any("deprecated" in warning for warning in response["warnings"])
    deleted = await server.ask("/resource-validation", Write("Service", {}, service(), operation="DELETE"))
    assert deleted["allowed"]


async def test_config_maps_are_checked_and_take_effect(server: Server) -> None:
    bad = {"metadata": {"name": "config-gc"}, "data": {"min-non-active-revisions": "-1"}}
    write = Write("ConfigMap", bad, group="", namespace=SYSTEM, name="config-gc", operation="UPDATE")
    assert not (await server.ask("/config-validation", write))["allowed"]
    await server.client.patch(ConfigMap, "config-defaults", SYSTEM, {"data": {"max-revision-timeout-seconds": "900"}})
    longer = defaulted(service({"timeoutSeconds": 601}))
    async with asyncio.timeout(10):
        while not (await server.ask("/resource-validation", longer))["allowed"]:
            pass


@pytest.mark.parametrize("body", [[], {}, {"request": {}}, {"request": {"uid": "u", "kind": "Service"}}, "x"])
async def test_what_is_no_review_is_told_so(server: Server, body: object) -> None:
    status, text = await server.post("/defaulting", body)
    assert status == 400
    assert text.startswith("expected an AdmissionReview of admission.k8s.io/v1")


async def test_the_kubelet_is_answered_and_nobody_without_tls(server: Server) -> None:
    async with server.session.get(
        f"https://127.0.0.1:{server.app.port}/", ssl=trust(), server_hostname=HOST
    ) as response:
        assert response.status == 200
    with pytest.raises(aiohttp.ClientError):
        await server.session.get(f"http://127.0.0.1:{server.app.port}/")


async def test_a_certificate_that_is_renewed_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.webhook_tls._LOOK_S", 0.01)
    async with running_webhook(tmp_path) as server:
        (tmp_path / "tls.key").write_bytes(b"half written")
        write_certificate(tmp_path, "another.name")
        async with asyncio.timeout(10):
            while True:
                try:
                    await server.session.get(
                        f"https://127.0.0.1:{server.app.port}/", ssl=trust(), server_hostname="another.name"
                    )
                    break
                except aiohttp.ClientError:
                    continue


async def test_an_api_server_asks_it_about_every_write(tmp_path: Path) -> None:
    issued = AUTHORITY.issue_server([HOST], ["127.0.0.1"])
    (tmp_path / "tls.crt").write_bytes(issued.certificate_pem)
    (tmp_path / "tls.key").write_bytes(issued.key_pem)
    async with running_webhook(tmp_path) as server:
        rules = [{"apiGroups": ["serving.knative.dev"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]
        for kind, name, path in (
            ("MutatingWebhookConfiguration", "webhook.serving.knative.dev", "/defaulting"),
            ("ValidatingWebhookConfiguration", "validation.webhook.serving.knative.dev", "/resource-validation"),
        ):
            client_config = {
                "url": f"https://127.0.0.1:{server.app.port}{path}",
                "caBundle": base64.b64encode(AUTHORITY.certificate_pem).decode(),
            }
            webhook = {
                "name": name,
                "clientConfig": client_config,
                "rules": rules,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
            }
            body = {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": name},
                "webhooks": [webhook],
            }
            collection = f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}s"
            await server.client.raw("POST", collection, body=json.dumps(body).encode())
        services = serving.Service.RESOURCE.path("default")
        stored = json.loads(await server.client.raw("POST", services, body=json.dumps(service()).encode()))
        assert stored["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]
        assert stored["spec"]["template"]["spec"]["timeoutSeconds"] == 300
        with pytest.raises(Invalid) as caught:
            await server.client.raw("POST", services, body=json.dumps(service({"timeoutSeconds": 601})).encode())
        assert caught.value.message == (
            'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: '
            "expected 0 <= 601 <= 600: spec.template.spec.timeoutSeconds"
        )


async def test_without_a_usable_certificate_it_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("none")
    (tmp_path / "tls.key").write_text("none")
    async with running_api_server() as api:
        environ = {
            "PATH": os.defpath,
            "KUBECONFIG": str(api.kubeconfig),
            "SYSTEM_NAMESPACE": SYSTEM,
            "KNUV_WEBHOOK_TLS_DIRECTORY": str(tmp_path),
            "KNUV_WEBHOOK_ADDRESS": "127.0.0.1:0",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "controller", "webhook", env=environ, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith(f"webhook: KNUV_WEBHOOK_TLS_DIRECTORY: {tmp_path}: ")


def test_its_configuration_tells_everything_that_is_wrong() -> None:
    with pytest.raises(ConfigError) as caught:
        WebhookConfig.from_env({"WEBHOOK_PORT": "x", "KNUV_WEBHOOK_ADDRESS": "nowhere"})
    text = "\n".join(caught.value.problems)
    for name in ("WEBHOOK_PORT", "KNUV_WEBHOOK_ADDRESS", "SYSTEM_NAMESPACE"):
        assert name in text


def test_a_patch_names_what_differs() -> None:
    before = {"kind": "A", "metadata": {"name": "a", "annotations": {"x": "1"}}, "spec": {"a": 1}, "old": 1}
    after = {"kind": "A", "metadata": {"name": "a", "annotations": {"x": "2"}}, "spec": {"a": 2}}
    assert patch_between(before, after) == [
        {"op": "remove", "path": "/old"},
        {"op": "add", "path": "/spec", "value": {"a": 2}},
        {"op": "add", "path": "/metadata/annotations", "value": {"x": "2"}},
    ]
    assert patch_between(after, after) == []


HOOK = {
    "name": "webhook.serving.knative.dev",
    "clientConfig": {"service": {"namespace": SYSTEM, "name": "webhook", "path": "/defaulting"}},
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
}
MUTATING = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
OWN_NAME = f"webhook.{SYSTEM}.svc"


class Own:
    """A server's own certificate, with a clock of the test's."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.now_s = time.time()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.said: list[bytes] = []

    def another(self) -> OwnCertificate:
        return OwnCertificate(
            self.context,
            self.client,
            Logger("webhook", write=self.said.append),
            namespace=SYSTEM,
            secret="webhook-certs",
            service="webhook",
            cluster_domain="cluster.local",
            clock=lambda: self.now_s,
        )

    async def known(self) -> bytes:
        """What the API server believes."""
        body = json.loads(await self.client.raw("GET", f"{MUTATING}/webhook.serving.knative.dev"))
        return base64.b64decode(body["webhooks"][0]["clientConfig"].get("caBundle", ""))

    async def held(self) -> dict[str, bytes]:
        found = await self.client.get(Secret, "webhook-certs", SYSTEM)
        return {name: base64.b64decode(text) for name, text in found.data.items()}

    async def is_shown(self) -> None:
        """Shake hands with a server that has the context, as the API server would. Raises `ssl.SSLError`."""
        trusting = ssl.create_default_context(cadata=(await self.known()).decode())
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=self.context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=OWN_NAME)
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def own(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Own]:
    monkeypatch.setattr("controller.webhook_tls._LOOK_S", 0.01)
    monkeypatch.setattr("controller.webhook_tls._SETTLE_S", 0.01)
    async with running_api_server() as api, Client(api.config) as client:
        await client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "webhook.serving.knative.dev"},
            "webhooks": [HOOK],
        }
        await client.raw("POST", MUTATING, body=json.dumps(body).encode())
        yield Own(client)


async def test_replicas_share_a_certificate_that_the_first_makes_and_makes_known(own: Own) -> None:
    replicas = [own.another() for _ in range(3)]
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        held = await own.held()
        assert set(held) == {"server-key.pem", "server-cert.pem", "ca-cert.pem"}
        assert await own.known() == held["ca-cert.pem"]
        assert sum(b"certificate_made" in line for line in own.said) == 1
        await own.is_shown()
    finally:
        for replica in replicas:
            await replica.stop()


async def test_a_certificate_is_renewed_a_day_before_its_end_and_the_former_one_stays_known(own: Own) -> None:
    own.now_s -= 6 * 86_400
    replica = own.another()
    await replica.start()
    try:
        first = await own.held()
        own.now_s += 5 * 86_400
        for _ in range(3):
            await asyncio.sleep(0.02)
        assert await own.held() == first
        own.now_s += 86_400 + 60

        async def is_renewed() -> bool:
            return (await own.held())["server-cert.pem"] != first["server-cert.pem"]

        await eventually(is_renewed)
        await eventually(lambda: sum(b"certificate_shown" in line for line in own.said) == 2)
        known = await own.known()
        assert first["ca-cert.pem"].strip() in known
        assert known.count(b"BEGIN CERTIFICATE") == 2
        await own.is_shown()
    finally:
        await replica.stop()


@pytest.mark.parametrize("name", ["another.name", OWN_NAME])
async def test_what_is_no_certificate_of_ours_is_replaced_and_a_lost_bundle_comes_back(own: Own, name: str) -> None:
    foreign = issue([name], own.now_s, 7 * 86_400)
    if name == OWN_NAME:
        foreign = dataclasses.replace(foreign, key=issue([name], own.now_s, 7 * 86_400).key)
    parts = {
        "server-key.pem": foreign.key,
        "server-cert.pem": foreign.certificate,
        "ca-cert.pem": foreign.authority,
    }
    data = {name: base64.b64encode(value).decode() for name, value in parts.items()}
    await own.client.create(Secret(metadata=ObjectMeta(name="webhook-certs", namespace=SYSTEM), data=data))
    replica = own.another()
    await replica.start()
    try:
        await own.is_shown()
        patch = [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]
        path = f"{MUTATING}/webhook.serving.knative.dev"
        await own.client.raw("PATCH", path, body=json.dumps(patch).encode(), content_type="application/json-patch+json")
        await eventually(own.known)
        await own.is_shown()
    finally:
        await replica.stop()


async def test_without_a_directory_the_server_makes_its_own_certificate() -> None:
    async with running_webhook(None) as server:
        found = await server.client.get(Secret, "webhook-certs", SYSTEM)
        trusting = ssl.create_default_context(cadata=base64.b64decode(found.data["ca-cert.pem"]).decode())
        async with server.session.get(
            f"https://127.0.0.1:{server.app.port}/", ssl=trusting, server_hostname=OWN_NAME
        ) as response:
            assert response.status == 200
