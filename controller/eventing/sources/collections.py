"""The kinds that the reconcilers of sources read and write."""

from typing import Any, Final

from controller.collection import Collection
from kube.client import Client
from kube.models import core
from kube.models.apps import Deployment
from kube.models.sources import ApiServerSource, ContainerSource, JetStreamSource, PingSource, SinkBinding

__all__ = ["SOURCE_LABEL", "SourceCollections"]

SOURCE_LABEL: Final = "sources.knative.dev/source"
"""On every Deployment that a source owns: who looks after it."""


class SourceCollections:
    """Local copies; whoever makes them starts and stops what `all` lists."""

    def __init__(self, client: Client) -> None:
        self.ping_sources = Collection(client, PingSource)
        self.api_server_sources = Collection(client, ApiServerSource)
        self.container_sources = Collection(client, ContainerSource)
        self.sink_bindings = Collection(client, SinkBinding)
        self.jetstream_sources = Collection(client, JetStreamSource)
        self.deployments = Collection(client, Deployment, label_selector=SOURCE_LABEL)
        self.namespaces = Collection(client, core.Namespace)

    def all(self) -> list[Collection[Any]]:
        """Every one."""
        return [
            self.ping_sources,
            self.api_server_sources,
            self.container_sources,
            self.sink_bindings,
            self.jetstream_sources,
            self.deployments,
            self.namespaces,
        ]
