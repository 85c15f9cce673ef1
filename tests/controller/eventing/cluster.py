"""The surroundings of the controller of eventing: a real API server with admission, and its peers.

`Dispatchers` plays the data plane: it tells of every subscriber of every channel, as the originals do. Services,
Endpoints and Deployments of the system are there from the start, and ready.
"""

import asyncio
import base64
import contextlib
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from controller.eventing.app import App
from controller.eventing.config import EventingConfig
from kube.client import Client
from kube.errors import ApiError, NotFound
from kube.informer import Informer
from kube.models import core
from kube.models.duck import SubscriberStatus
from kube.models.eventing import Broker
from kube.models.messaging import InMemoryChannel
from kube.models.meta import Resource
from kube.reconcile import Loop
from local_cluster import admission
from local_cluster.apiserver.server import Identity
from proxies.logs import Logger
from tests.support.api import running_api_server

SYSTEM = "knative-eventing"
CONTROLLER = f"system:serviceaccount:{SYSTEM}:eventing-controller"
WITHIN_S = 40.0
SERVICES = ("broker-ingress", "broker-filter", "imc-dispatcher")
DEFAULTS = {
    "config-br-defaults": {
        "default-br-config": json.dumps(
            {
                "clusterDefault": {
                    "brokerClass": "MTChannelBasedBroker",
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "name": "config-br-default-channel",
                    "namespace": SYSTEM,
                    "delivery": {"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"},
                }
            }
        )
    },
    "config-br-default-channel": {
        "channel-template-spec": "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\n"
    },
    "config-features": {},
}

R = TypeVar("R", bound=Resource)


class Eventing:
    """A running control plane and how to look at it."""

    def __init__(
        self,
        client: Client,
        app: App | None,
        dispatchers: "Dispatchers",
        log_lines: list[bytes],
        namespace: str = "default",
    ) -> None:
        self.client = client
        self.namespace = namespace
        """Where objects are made and looked for."""
        self.controller_api = client.config
        """The API with the controller's identity."""
        self.kubeconfig = Path()
        """A file by which other programs find the API."""
        self.app = app
        self.dispatchers = dispatchers
        self.log_lines = log_lines

    async def within(self, namespace: str) -> "Eventing":
        """The same in a new namespace, for a test that shares the control plane with others."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await self.client.raw("POST", core.Namespace.RESOURCE.path(), body=json.dumps(body).encode())
        return Eventing(self.client, self.app, self.dispatchers, self.log_lines, namespace)

    async def create(self, kind: type[R], name: str, spec: dict[str, Any], **metadata: Any) -> R:
        """Create an object; the namespace is the test's unless `metadata` says otherwise."""
        meta = {"namespace": self.namespace, "name": name, **metadata}
        body = {"apiVersion": kind.RESOURCE.api_version, "kind": kind.RESOURCE.kind, "metadata": meta, "spec": spec}
        answer = await self.client.raw("POST", kind.RESOURCE.path(meta["namespace"]), body=json.dumps(body).encode())
        return msgspec.json.decode(answer, type=kind)

    async def refusal(self, kind: type[Resource], name: str, spec: dict[str, Any], **metadata: Any) -> str:
        """Create an object that is refused; the message. Fails when it is accepted."""
        with pytest.raises(ApiError) as refused:
            await self.create(kind, name, spec, **metadata)
        assert refused.value.code == 400
        return refused.value.message

    async def refused_change(self, kind: type[Resource], name: str, patch: dict[str, Any]) -> str:
        """Patch an object in a way that is refused; the message."""
        with pytest.raises(ApiError) as refused:
            await self.patch(kind, name, patch)
        assert refused.value.code == 400
        return refused.value.message

    async def refused_config(self, name: str, data: dict[str, str]) -> str:
        """Make or change a ConfigMap in a way that is refused; the message."""
        with pytest.raises(ApiError) as refused:
            await self.set_config(name, data)
        assert refused.value.code == 400
        return refused.value.message

    async def patch(self, kind: type[R], name: str, patch: dict[str, Any], namespace: str = "") -> R:
        """A merge patch."""
        return await self.client.patch(kind, name, namespace or self.namespace, patch)

    async def get(self, kind: type[R], name: str) -> R:
        """One object."""
        return await self.client.get(kind, name, self.namespace)

    async def raw(self, kind: type[Resource], name: str) -> dict[str, Any]:
        """The same, whole."""
        found: dict[str, Any] = json.loads(await self.client.raw("GET", kind.RESOURCE.path(self.namespace, name)))
        return found

    async def set_config(self, name: str, data: dict[str, str]) -> None:
        """Make or change a ConfigMap of the system namespace."""
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        try:
            await self.client.raw(
                "PUT", core.ConfigMap.RESOURCE.path(SYSTEM, name), body=json.dumps(config_map).encode()
            )
        except NotFound:
            await self.client.raw("POST", core.ConfigMap.RESOURCE.path(SYSTEM), body=json.dumps(config_map).encode())

    async def service(self, name: str, namespace: str = "") -> dict[str, Any]:
        """A core Service to refer to; the Destination."""
        namespace = namespace or self.namespace
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"ports": [{"port": 80}]},
        }
        await self.client.raw("POST", core.Service.RESOURCE.path(namespace), body=json.dumps(body).encode())
        return {"ref": {"apiVersion": "v1", "kind": "Service", "name": name, "namespace": namespace}}

    async def until(self, kind: type[R], name: str, what: str, is_so: Callable[[R], bool]) -> R:
        """Wait until an object is so; fails with `what` and its last state."""
        namespace = self.namespace
        informer = Informer(self.client, kind, namespace=namespace)
        changed = asyncio.Event()
        informer.on_change(lambda _old, _new: changed.set())
        await informer.start()
        try:
            async with asyncio.timeout(WITHIN_S):
                while (found := informer.get(namespace, name)) is None or not is_so(found):
                    changed.clear()
                    await changed.wait()
            return found
        except TimeoutError:
            held = informer.get(namespace, name)
            log = b"".join(self.log_lines[-10:]).decode()
            raise AssertionError(f"{kind.RESOURCE.kind} {name}: {what}; last seen {held}\n{log}") from None
        finally:
            await informer.stop()

    async def until_ready(self, kind: type[R], name: str) -> R:
        """Wait until an object is ready at its generation."""

        def is_ready(obj: Any) -> bool:
            return obj.status.is_ready() and obj.status.observed_generation == obj.metadata.generation

        return await self.until(kind, name, "ready", is_ready)

    async def until_condition(self, kind: type[R], name: str, type_: str, status: str) -> tuple[str, str]:
        """Wait for a condition; its reason and message."""
        found = await self.until(kind, name, f"{type_}={status}", lambda obj: condition(obj, type_)[0] == status)
        return condition(found, type_)[1:]

    async def until_gone(self, kind: type[Resource], name: str) -> None:
        """Wait until there is no such object."""
        informer = Informer(self.client, kind, namespace=self.namespace)
        changed = asyncio.Event()
        informer.on_change(lambda _old, _new: changed.set())
        await informer.start()
        try:
            async with asyncio.timeout(WITHIN_S):
                while informer.get(self.namespace, name) is not None:
                    changed.clear()
                    await changed.wait()
        finally:
            await informer.stop()

    async def broker(self, name: str = "default", spec: dict[str, Any] | None = None, **metadata: Any) -> Broker:
        """A Broker that is ready."""
        await self.create(Broker, name, spec or {}, **metadata)
        return await self.until_ready(Broker, name)


class Dispatchers:
    """Tells of subscribers, unless it is told to hold its tongue."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._channels = Informer(client, InMemoryChannel)
        self._loop: Loop[tuple[str, str]] = Loop("dispatcher", self._tell)
        self._channels.on_change(lambda old, new: self._loop.add((new or old or InMemoryChannel()).key))
        self.silent: set[str] = set()
        """Namespaces of which nothing is told."""
        self.verdicts: dict[str, tuple[str, str]] = {}
        """By namespace: readiness and message; without one all are ready."""

    async def start(self) -> None:
        """Begin to play."""
        await self._channels.start()
        self._loop.start()

    async def stop(self) -> None:
        """End."""
        await self._loop.stop()
        await self._channels.stop()

    def speak(self) -> None:
        """Tell of everything, from now on."""
        self.silent.clear()
        for channel in self._channels.list():
            self._loop.add(channel.key)

    async def _tell(self, key: tuple[str, str]) -> None:
        channel = self._channels.get(*key)
        if channel is None or channel.namespace in self.silent:
            return
        ready, message = self.verdicts.get(channel.namespace, ("True", ""))
        told = [
            SubscriberStatus(uid=entry.uid, observed_generation=entry.generation, ready=ready, message=message)
            for entry in channel.spec.subscribers
        ]
        if told == channel.status.subscribers:
            return
        status = msgspec.structs.replace(channel.status, subscribers=told)
        with contextlib.suppress(NotFound):
            await self._client.patch_status(channel, status, guard=True)


def condition(obj: Any, type_: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    found = next((each for each in obj.status.conditions if each.type == type_), None)
    return (found.status, found.reason, found.message) if found is not None else ("", "", "")


@asynccontextmanager
async def running(*, acts: bool = True, settings: dict[str, dict[str, str]] | None = None) -> AsyncIterator[Eventing]:
    """A control plane (`acts` False: only admission) with its peers. Everything is gone at the end."""
    token, log_lines = secrets.token_hex(16), list[bytes]()
    identities = {token: Identity(CONTROLLER, ("system:serviceaccounts", "system:authenticated"))}
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api_server(tokens=identities))
        admission.install(api.server)
        client = await stack.enter_async_context(Client(api.config))
        await _prepare(client, settings or {})
        dispatchers = Dispatchers(client)
        await dispatchers.start()
        stack.push_async_callback(dispatchers.stop)
        app = None
        controller_api = dataclasses.replace(api.config, token=token)
        if acts:
            config = EventingConfig(api=controller_api)
            app = App(config, Logger("eventing-controller", write=log_lines.append))
            stack.push_async_callback(app.stop)
            await app.start()
        eventing = Eventing(client, app, dispatchers, log_lines)
        eventing.controller_api = controller_api
        eventing.kubeconfig = api.kubeconfig
        yield eventing


async def _prepare(client: Client, settings: dict[str, dict[str, str]]) -> None:
    async def post(kind: type[Resource], body: dict[str, Any], namespace: str = SYSTEM) -> None:
        info = kind.RESOURCE
        whole = {"apiVersion": info.api_version, "kind": info.kind, **body}
        await client.raw("POST", info.path(namespace), body=json.dumps(whole).encode())

    await post(core.Namespace, {"metadata": {"name": SYSTEM}}, "")
    for name, data in (DEFAULTS | settings).items():
        await post(core.ConfigMap, {"metadata": {"name": name}, "data": data})
    for name in SERVICES:
        await post(core.Service, {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}]}})
        subsets = [{"addresses": [{"ip": "127.0.0.9"}], "ports": [{"name": "http", "port": 8080}]}]
        await post(core.Endpoints, {"metadata": {"name": name}, "subsets": subsets})


def certificate_secret(name: str, pem: str) -> dict[str, Any]:
    """A Secret of a TLS server, with the certificate that signed."""
    return {"metadata": {"name": name}, "data": {"ca.crt": base64.b64encode(pem.encode()).decode()}}
