"""What whoever started a stack with Services hears of them."""

import json
from typing import Any

from kube.client import Client
from kube.models.serving import Service
from local_cluster.announcing import Announcer
from proxies.logs import Logger
from tests.support.api import running_api_server
from tests.support.processes import eventually

URL = "http://a.default.127.0.0.1.sslip.io"


async def test_each_service_is_told_of_once_for_each_turn() -> None:
    said: list[str] = []
    async with running_api_server() as api, Client(api.config) as client:
        await client.raw("POST", "/api/v1/namespaces", body=b'{"metadata": {"name": "other"}}')
        for name, namespace in (("a", "default"), ("b", "default"), ("inner", "other")):
            await create(client, name, namespace)
        keys = {("default", "a"), ("other", "inner")}
        announcer = Announcer(client, said.append, 8080, keys, Logger("test", write=lambda _line: None))
        await announcer.start()
        try:
            await becomes(client, "b", "default", "True", URL)
            await becomes(client, "a", "default", "Unknown", URL)
            await becomes(client, "a", "default", "False", URL)
            await eventually(lambda: len(said) == 1)
            await becomes(client, "a", "default", "False", URL, message="still not")
            await becomes(client, "a", "default", "True", URL)
            await eventually(lambda: len(said) == 2)
            inside = "http://inner.other.svc.cluster.local"
            await becomes(client, "inner", "other", "False", inside, inside)
            await eventually(lambda: len(said) == 3)
            await becomes(client, "inner", "other", "True", inside, inside)
            await eventually(lambda: len(said) == 4)
        finally:
            await announcer.stop()
    assert said == [
        "service/a is not ready; `knuv why a` says why",
        f"service/a ready at {URL}:8080",
        "service/inner is not ready; `knuv why inner -n other` says why",
        "service/inner ready at http://inner.other.svc.cluster.local",
    ]


async def test_a_service_that_waits_for_long_is_told_of_too() -> None:
    said: list[str] = []
    async with running_api_server() as api, Client(api.config) as client:
        for name in ("done", "stuck"):
            await create(client, name, "default")
        await becomes(client, "done", "default", "True", URL)
        await becomes(client, "stuck", "default", "Unknown", URL)
        keys = {("default", "done"), ("default", "stuck"), ("default", "deleted")}
        log = Logger("test", write=lambda _line: None)
        announcer = Announcer(client, said.append, 80, keys, log, patience_s=0.01)
        await announcer.start()
        try:
            await eventually(lambda: len(said) == 2)
            await becomes(client, "stuck", "default", "True", URL)
            await eventually(lambda: len(said) == 3)
        finally:
            await announcer.stop()
    assert said == [
        f"service/done ready at {URL}",
        "service/stuck is not ready yet; `knuv why stuck` says why",
        f"service/stuck ready at {URL}",
    ]


async def create(client: Client, name: str, namespace: str) -> None:
    info = Service.RESOURCE
    spec = {"template": {"spec": {"containers": [{"image": "dev.local/any"}]}}}
    body = {"apiVersion": info.api_version, "kind": info.kind, "metadata": {"name": name}, "spec": spec}
    await client.raw("POST", info.path(namespace), body=json.dumps(body).encode())


async def becomes(
    client: Client, name: str, namespace: str, ready: str, url: str, address: str = "http://a.svc", message: str = ""
) -> None:
    """What a controller writes."""
    service = await client.get(Service, name, namespace)
    condition = {"type": "Ready", "status": ready, "message": message}
    status: dict[str, Any] = {"observedGeneration": service.metadata.generation, "conditions": [condition]}
    status |= {"url": url, "address": {"url": address}}
    await client.raw(
        "PATCH",
        f"{Service.RESOURCE.path(namespace, name)}/status",
        body=json.dumps({"status": status}).encode(),
        content_type="application/merge-patch+json",
    )
