"""Kinds that a test brings along, as whoever installs cert-manager or the Gateway API does."""

import json

from kube.client import Client
from kube.models.meta import Resource

_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def define(client: Client, *kinds: type[Resource]) -> None:
    """Make the API serve these, with any content and a status of its own; returns when it does."""
    for kind in kinds:
        info = kind.RESOURCE
        version = {
            "name": info.version,
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            "subresources": {"status": {}},
        }
        body = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{info.plural}.{info.group}"},
            "spec": {
                "group": info.group,
                "scope": "Namespaced" if info.namespaced else "Cluster",
                "names": {"plural": info.plural, "kind": info.kind},
                "versions": [version],
            },
        }
        await client.raw("POST", _PATH, body=json.dumps(body).encode())
