"""One server for all cases of a process."""

from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from tests.conformance.apiserver.rig import Rig
from tests.local_cluster.apiserver.raw import connected
from tests.support.api import running_api_server

_FIELDS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 9},
                "colour": {"type": "string", "default": "red", "enum": ["red", "blue"]},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "deletionTimestamp": {"type": "string"},
                "replicas": {"type": "integer"},
                "parts": {
                    "type": "array",
                    "maxItems": 3,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["id"],
                    "items": {"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}},
                },
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "plain": {"type": "array", "items": {"type": "string"}},
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
_WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.test.example"},
    "spec": {
        "group": "test.example",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": name,
                "served": True,
                "storage": name == "v1",
                "schema": {"openAPIV3Schema": _FIELDS},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
            }
            for name in ("v1", "v2")
        ],
    },
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named on the command line; everywhere else the defaults count."""
    parser.addoption("--openapi-cases", type=int, default=0, help="requests for each operation of /openapi/v3")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    """The loop that the stack runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def rig() -> AsyncIterator[Rig]:
    """A server that knows the kind Widget."""
    async with running_api_server(history_max=200) as running, connected(running.config) as api:
        await api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _WIDGETS)
        yield Rig(api)
