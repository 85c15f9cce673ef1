"""Statements 39, 41 and 44 by the webhook of a cluster: the same rules, asked over the wire."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controller.config import WebhookConfig
from controller.webhook import WebhookApp
from kube.client import Client
from kube.models.core import Namespace
from kube.models.sources import SinkBinding
from proxies.logs import Logger
from tests.controller.test_webhook import HOST, applied, review, trust, write_certificate
from tests.controller.writes import Write
from tests.support.api import running_api_server
from tests.support.processes import eventually

SINK = "http://sink.example/"


def deployment(**metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "default", **metadata},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    }


@asynccontextmanager
async def asking(tmp_path: Path, **environ: str) -> AsyncIterator[Any]:
    """What asks a webhook, beside which there is a SinkBinding with a resolved sink."""
    write_certificate(tmp_path, HOST)
    async with running_api_server() as api, Client(api.config) as client:
        subject = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "namespace": "default"}
        body = {"metadata": {"name": "b"}, "spec": {"subject": subject, "sink": {"uri": SINK}}}
        await client.raw("POST", SinkBinding.RESOURCE.path("default"), body=json.dumps(body).encode())
        binding = await client.get(SinkBinding, "b", "default")
        await client.patch_status(binding, {"sinkUri": SINK, "sinkCACerts": "PEM"})
        config = WebhookConfig.from_env(
            {
                "KUBECONFIG": str(api.kubeconfig),
                "SYSTEM_NAMESPACE": "knative-eventing",
                "KNUV_WEBHOOK_TLS_DIRECTORY": str(tmp_path),
                "KNUV_WEBHOOK_ADDRESS": "127.0.0.1:0",
                "KNUV_CONTROLLERS": "eventing",
                **environ,
            }
        )
        app = WebhookApp(config, Logger("test", write=lambda _line: None))
        try:
            await app.start()
            async with aiohttp.ClientSession() as session:

                async def ask(obj: dict[str, Any], path: str = "/sinkbindings") -> dict[str, Any]:
                    kind, group = obj["kind"], obj["apiVersion"].rpartition("/")[0]
                    write = Write(kind, obj, operation="CREATE", group=group)
                    url = f"https://127.0.0.1:{app.port}{path}"
                    async with session.post(url, json=review(write), ssl=trust(), server_hostname=HOST) as response:
                        assert response.status == 200
                        found: dict[str, Any] = (await response.json())["response"]
                        return found

                ask.client = client  # type: ignore[attr-defined]
                yield ask
        finally:
            await app.stop()


def environment(obj: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in obj["spec"]["template"]["spec"]["containers"][0].get("env", [])}


async def test_39_41_and_44_a_subject_is_told_unless_its_labels_keep_it_out(tmp_path: Path) -> None:
    async with asking(tmp_path) as ask:
        answer = await ask(deployment())
        assert answer["allowed"]
        told = environment(applied(deployment(), answer))
        assert told == {"K_SINK": SINK, "K_CA_CERTS": "PEM", "K_CE_OVERRIDES": ""}
        for obj in (
            deployment(labels={"bindings.knative.dev/exclude": "true"}),
            deployment(name="other"),
            {**deployment(), "apiVersion": "apps/v2"},
        ):
            assert "patch" not in await ask(obj)


async def test_44_in_inclusion_mode_object_and_namespace_have_to_be_labelled(tmp_path: Path) -> None:
    async with asking(tmp_path, SINK_BINDING_SELECTION_MODE="inclusion") as ask:
        included = {"bindings.knative.dev/include": "true"}
        assert "patch" not in await ask(deployment(labels=included))
        await ask.client.patch(Namespace, "default", None, {"metadata": {"labels": included}})

        async def is_told() -> bool:
            return "patch" in await ask(deployment(labels=included))

        await eventually(is_told)
        assert "patch" not in await ask(deployment())


@pytest.mark.parametrize("spec", [{}, {"schedule": "* * * * 7", "sink": {"uri": SINK}}])
async def test_sources_are_checked_by_the_same_server(tmp_path: Path, spec: dict[str, Any]) -> None:
    source = {"apiVersion": "sources.knative.dev/v1", "kind": "PingSource", "metadata": {"name": "p"}, "spec": spec}
    async with asking(tmp_path) as ask:
        refused = await ask(source, "/resource-validation")
        assert not refused["allowed"]
        assert "spec." in refused["status"]["message"]
        fine = {**source, "spec": {"sink": {"uri": SINK}}}
        defaulted = applied(fine, await ask(fine, "/defaulting"))
        assert defaulted["spec"]["schedule"] == "* * * * *"
