"""What the webhook server asks about objects of eventing: defaults, checks, and the sinks of bound subjects."""

import asyncio
from collections.abc import Mapping

from controller.admission import Request
from controller.eventing.admission import EventingAdmission
from controller.eventing.sources.binding_admission import BindingAdmission
from controller.eventing.sources.binding_rules import SelectionMode
from kube.client import Client
from kube.informer import Informer
from kube.models.core import ConfigMap, Namespace
from kube.models.sources import SinkBinding
from proxies.logs import Logger

__all__ = ["EventingHooks"]


class EventingHooks:
    """`admission` and `bind`, over local copies of what they depend on."""

    def __init__(self, client: Client, *, system_namespace: str, mode: SelectionMode, log: Logger) -> None:
        self._system_namespace = system_namespace
        self._maps = Informer(client, ConfigMap, namespace=system_namespace, log=log)
        self._bindings = Informer(client, SinkBinding, log=log)
        self._namespaces = Informer(client, Namespace, log=log)
        self._binding = BindingAdmission(self._bindings.list, self._labels_of, mode=mode)
        self.admission = EventingAdmission(self._data_of, system_namespace=system_namespace)

    async def start(self) -> None:
        """Read what is there."""
        await asyncio.gather(*(informer.start() for informer in self._informers()))

    async def stop(self) -> None:
        """End all watches."""
        await asyncio.gather(*(informer.stop() for informer in self._informers()))

    def bind(self, request: Request) -> dict[str, object]:
        """The object with the sinks that bindings tell it."""
        return self._binding.bind(request)

    def _informers(self) -> tuple[Informer[ConfigMap], Informer[SinkBinding], Informer[Namespace]]:
        return self._maps, self._bindings, self._namespaces

    def _data_of(self, name: str) -> Mapping[str, str] | None:
        found = self._maps.get(self._system_namespace, name)
        return found.data if found is not None else None

    def _labels_of(self, name: str) -> Mapping[str, str]:
        found = self._namespaces.get("", name)
        return found.metadata.labels if found is not None else {}
