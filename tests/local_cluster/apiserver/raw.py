"""Requests as a raw client makes them, and manifests to make them with."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import orjson

from kube.config import ApiConfig

DEADLINE_S = 30.0
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
KSERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"
STREAMING_LIST = {
    "watch": "true",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
    "allowWatchBookmarks": "true",
}


class Answer(NamedTuple):
    """What came back. `data` is the parsed JSON, or the text of any other body."""

    status: int
    data: Any
    headers: dict[str, str]


class Events:
    """An open watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self._lines = response.content

    async def next(self) -> dict[str, Any]:
        """The next event; fails when none comes in time."""
        line = await asyncio.wait_for(self._lines.readline(), DEADLINE_S)
        assert line, "the stream ended"
        event: dict[str, Any] = orjson.loads(line)
        return event

    async def names(self, count: int) -> list[tuple[str, str]]:
        """Type and object name of the next `count` events."""
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]

    async def end(self) -> None:
        """Wait for the clean end of the stream; fails when an event comes instead."""
        assert await asyncio.wait_for(self._lines.readline(), DEADLINE_S) == b""


class Api:
    """One identity's raw access."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        **params: str,
    ) -> Answer:
        """One request; `body` is sent as JSON unless it is bytes."""
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        sent = dict(headers or {})
        if data is not None:
            sent.setdefault("Content-Type", content_type)
        async with self._session.request(
            method, self._server + path, data=None if data is None else io.BytesIO(data), headers=sent, params=params
        ) as response:
            text = await response.read()
            is_json = response.content_type == "application/json" and text
            return Answer(response.status, orjson.loads(text) if is_json else text.decode(), dict(response.headers))

    async def get(self, path: str, **params: str) -> Answer:
        """GET as JSON."""
        return await self.call("GET", path, **params)

    async def create(self, path: str, obj: dict[str, Any], **params: str) -> dict[str, Any]:
        """POST; the created object."""
        answer = await self.call("POST", path, obj, **params)
        assert answer.status == 201, answer.data
        created: dict[str, Any] = answer.data
        return created

    async def patch(self, path: str, patch: Any, content_type: str = MERGE_PATCH, **params: str) -> Answer:
        """PATCH with a merge patch unless told otherwise."""
        return await self.call("PATCH", path, patch, content_type=content_type, **params)

    async def version(self) -> str:
        """The server's current resourceVersion."""
        version: str = (await self.get("/api/v1/namespaces")).data["metadata"]["resourceVersion"]
        return version

    @asynccontextmanager
    async def watch(self, path: str, headers: dict[str, str] | None = None, **params: str) -> AsyncIterator[Events]:
        """An open watch of a collection."""
        query = {"watch": "true", **params}
        async with self._session.get(self._server + path, params=query, headers=headers or {}) as response:
            yield Events(response)


@asynccontextmanager
async def connected(config: ApiConfig, token: str | None = None) -> AsyncIterator[Api]:
    """A client with the token of `config`, or another."""
    connector = aiohttp.TCPConnector(ssl=config.ssl_context() or False)
    headers = {"Authorization": f"Bearer {config.token if token is None else token}"}
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        yield Api(session, config.server)


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod(name: str, node: str = "", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A Pod of one container, assigned to `node` if given."""
    if node:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], **spec},
    }


def deployment(name: str, image: str = "app:1", **spec: Any) -> dict[str, Any]:
    """A Deployment whose pods carry the label `app`."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image, "ports": [{"containerPort": 80}]}]},
            },
            **spec,
        },
    }


def kservice(name: str, image: str = "app:1") -> dict[str, Any]:
    """A Knative Service."""
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
    }


def owned_by(obj: dict[str, Any], *owners: dict[str, Any], block: bool = False) -> dict[str, Any]:
    """`obj` with references to its owners."""
    obj["metadata"]["ownerReferences"] = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]
    return obj
