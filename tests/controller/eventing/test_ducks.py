"""Kinds that nobody knew of: found when they are referred to, and no trouble when they are not what they seem."""

import asyncio
import json
from typing import Any

import pytest

from controller.eventing import ducks
from kube.models.eventing import Trigger
from proxies.logs import Logger
from tests.controller.eventing.cluster import Eventing

pytestmark = pytest.mark.asyncio(loop_scope="module")

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def define(eventing: Eventing, plural: str, kind: str) -> None:
    """A kind of somebody's own, with any status."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [version],
        },
    }
    await eventing.client.raw("POST", _CRDS, body=json.dumps(body).encode())


async def put(eventing: Eventing, plural: str, kind: str, status: dict[str, Any]) -> None:
    """An object `it` of such a kind with this status."""
    path = f"/apis/example.com/v1/namespaces/{eventing.namespace}/{plural}"
    body = {"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": "it"}}
    await eventing.client.raw("POST", path, body=json.dumps(body).encode())
    patch = json.dumps({"status": status}).encode()
    await eventing.client.raw("PATCH", f"{path}/it/status", body=patch, content_type="application/merge-patch+json")


def to(kind: str, **more: str) -> dict[str, Any]:
    """A Destination."""
    return {"ref": {"apiVersion": "example.com/v1", "kind": kind, "name": "it", **more}}


async def test_a_custom_kind_with_an_address_is_followed_once_it_is_referred_to(eventing: Eventing) -> None:
    await define(eventing, "gadgets", "Gadget")
    await eventing.broker()
    await eventing.create(Trigger, "mine", {"broker": "default", "subscriber": to("Gadget")})
    _, message = await eventing.until_condition(Trigger, "mine", "SubscriberResolved", "False")
    assert message == 'gadgets "it" not found'
    addresses = [{"name": "inner", "url": "http://gadget/inner"}]
    await put(
        eventing, "gadgets", "Gadget", {"address": {"url": "http://gadget", "CACerts": "PEM"}, "addresses": addresses}
    )
    trigger = await eventing.until_ready(Trigger, "mine")
    assert (trigger.status.subscriber_uri, trigger.status.subscriber_ca_certs) == ("http://gadget", "PEM")
    await eventing.create(Trigger, "inner", {"broker": "default", "subscriber": to("Gadget", address="inner")})
    trigger = await eventing.until_ready(Trigger, "inner")
    assert trigger.status.subscriber_uri == "http://gadget/inner"


async def test_a_kind_whose_address_is_something_else_is_told(
    eventing: Eventing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ducks, "_SYNC_S", 0.2)
    await define(eventing, "oddities", "Oddity")
    await put(eventing, "oddities", "Oddity", {"address": "10.0.0.1"})
    await eventing.broker()
    await eventing.create(Trigger, "mine", {"broker": "default", "subscriber": to("Oddity")})
    _, message = await eventing.until_condition(Trigger, "mine", "SubscriberResolved", "False")
    assert message == "example.com/v1 Oddity cannot be listed"


async def test_a_kind_that_cannot_be_listed_is_waited_for_once(
    eventing: Eventing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or everybody who refers to it would hold a worker up, again and again."""
    await define(eventing, "curios", "Curio")
    await put(eventing, "curios", "Curio", {"address": "10.0.0.1"})
    found = ducks.Ducks(eventing.client, ducks.AddressableDuck, Logger("test", write=lambda _line: None), {})
    seen = asyncio.Event()
    found.on_change(lambda _old, _new: seen.set())
    try:
        monkeypatch.setattr(ducks, "_SYNC_S", 0.1)
        with pytest.raises(ducks.UnknownKind):
            await found.of("example.com/v1", "Curio")
        monkeypatch.setattr(ducks, "_SYNC_S", 60.0)
        async with asyncio.timeout(10):
            with pytest.raises(ducks.UnknownKind):
                await found.of("example.com/v1", "Curio")
            await eventing.client.raw("DELETE", f"/apis/example.com/v1/namespaces/{eventing.namespace}/curios/it")
            await put(eventing, "curios", "Curio", {"address": {"url": "http://curio"}})
            await seen.wait()
            assert (await found.of("example.com/v1", "Curio")).get(eventing.namespace, "it") is not None
    finally:
        await found.stop()
