"""The Endpoints controllers: pods behind Services with a selector, and copies of Endpoints that others wrote.

Endpoints and EndpointSlices of a Service with selector follow its pods at once, without the batching of a cluster: how
soon a ready pod is known is part of every cold start. Endpoints of a Service without selector belong to someone else
(Knative's controller); they are only mirrored into EndpointSlices.
"""

import asyncio
from collections.abc import Mapping

import msgspec

from kube.client import Client
from kube.errors import AlreadyExists, Forbidden, NotFound
from kube.informer import Informer
from kube.models.core import Endpoints, EndpointSubset, Pod, Service
from kube.models.discovery import EndpointSlice
from kube.models.meta import ObjectMeta
from kube.reconcile import Loop
from local_cluster.workloads.backends import (
    endpoint_subsets,
    is_selected,
    mirrored_contents,
    service_backends,
    slice_contents,
)
from local_cluster.workloads.local_writes import take_in
from local_cluster.workloads.slices import SliceWriter, port_objects
from proxies.logs import Logger

__all__ = ["NAMESPACE_INDEX", "EndpointsController", "MirrorController", "namespaces"]

NAMESPACE_INDEX = "namespace"
_MANAGER = "endpointslice-controller.k8s.io"
_MIRROR_MANAGER = "endpointslicemirroring-controller.k8s.io"
_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
_ENDPOINTS_MANAGER = "endpoint-controller"
_HEADLESS = "service.kubernetes.io/headless"
_SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
_RETRY_S = 1.0
Key = tuple[str, str]


def namespaces(obj: Pod | Service) -> tuple[str]:
    """Index by namespace."""
    return (obj.namespace,)


class EndpointsController:
    """Endpoints and EndpointSlices of every Service with a selector.

    All informers are shared; pods and Services are indexed by `NAMESPACE_INDEX`, slices by `SLICE_INDEX`.
    """

    def __init__(
        self,
        client: Client,
        services: Informer[Service],
        pods: Informer[Pod],
        endpoints: Informer[Endpoints],
        slices: Informer[EndpointSlice],
        *,
        log: Logger,
    ) -> None:
        self._client = client
        self._services = services
        self._pods = pods
        self._endpoints = endpoints
        self._writer = SliceWriter(client, slices, _MANAGER)
        self.loop: Loop[Key] = Loop("endpoints", self._reconcile, workers=16, log=log)
        services.on_change(self._service_changed)
        pods.on_change(self._pod_changed)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        changed = new or old
        if changed is not None:
            self.loop.add(changed.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        changed = new or old
        if changed is None:
            return
        for service in self._services.by_index(NAMESPACE_INDEX, changed.namespace):
            if any(pod is not None and is_selected(service, pod.metadata.labels) for pod in (old, new)):
                self.loop.add(service.key)

    async def _reconcile(self, key: Key) -> float | None:
        service = self._services.get(*key)
        try:
            if service is None:
                await self._remove(key)
            elif service.spec.selector and service.metadata.deletion_timestamp is None:
                await self._write(service)
        except (NotFound, Forbidden):
            return _RETRY_S  # something went away under our hands, or the namespace is going
        return None

    async def _write(self, service: Service) -> None:
        backends = service_backends(service, self._pods.by_index(NAMESPACE_INDEX, service.namespace))
        labels = {k: v for k, v in service.metadata.labels.items() if k not in (_MANAGED_BY, _HEADLESS)}
        if service.spec.cluster_ip == "None":
            labels[_HEADLESS] = ""
        contents = slice_contents(service, backends)
        await asyncio.gather(
            self._write_endpoints(
                service, endpoint_subsets(service, backends), {**labels, _MANAGED_BY: _ENDPOINTS_MANAGER}
            ),
            self._writer.write(
                service.namespace, service.name, contents, labels=labels, owner=service.owner_reference()
            ),
        )

    async def _write_endpoints(
        self, service: Service, subsets: list[EndpointSubset], labels: Mapping[str, str]
    ) -> None:
        held = self._endpoints.get(*service.key)
        if held is None:
            body = {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": ObjectMeta(name=service.name, namespace=service.namespace, labels=dict(labels)),
                "subsets": _subset_objects(subsets),
            }
            path = Endpoints.RESOURCE.path(service.namespace)
            try:
                answer = await self._client.raw("POST", path, body=msgspec.json.encode(body))
            except AlreadyExists:
                # Of a predecessor, or written a moment ago: patch it once the copy shows it.
                self._endpoints.apply_local(await self._client.get(Endpoints, service.name, service.namespace))
                self.loop.add(service.key)
                return
            self._endpoints.apply_local(msgspec.json.decode(answer, type=Endpoints))
        elif (held.subsets, held.metadata.labels) != (subsets, labels):
            stale: dict[str, str | None] = {key: None for key in held.metadata.labels if key not in labels}
            patch = {"metadata": {"labels": {**stale, **labels}}, "subsets": _subset_objects(subsets)}
            take_in(self._endpoints, await self._client.patch(Endpoints, service.name, service.namespace, patch))

    async def _remove(self, key: Key) -> None:
        """The Service is gone: so are the Endpoints of its name, and the slices unless the API collects them first.

        Endpoints that somebody owns are collected with their owner; they may belong to a successor of the same name.
        """
        namespace, name = key
        held = self._endpoints.get(namespace, name)
        if held is not None and not held.metadata.owner_references:
            await self._client.delete(Endpoints, name, namespace, uid=held.metadata.uid)
        await self._writer.write(namespace, name, [], labels={}, owner=None)


class MirrorController:
    """EndpointSlices for the Endpoints of Services without a selector. The informers are shared."""

    def __init__(
        self,
        client: Client,
        services: Informer[Service],
        endpoints: Informer[Endpoints],
        slices: Informer[EndpointSlice],
        *,
        log: Logger,
    ) -> None:
        self._services = services
        self._endpoints = endpoints
        self._writer = SliceWriter(client, slices, _MIRROR_MANAGER)
        self.loop: Loop[Key] = Loop("endpoint-mirror", self._reconcile, workers=16, log=log)
        services.on_change(self._changed)
        endpoints.on_change(self._changed)

    def _changed(self, old: Service | Endpoints | None, new: Service | Endpoints | None) -> None:
        changed = new or old
        if changed is not None:
            self.loop.add(changed.key)

    async def _reconcile(self, key: Key) -> float | None:
        namespace, name = key
        service = self._services.get(namespace, name)
        endpoints = self._endpoints.get(namespace, name)
        is_mirrored = (
            service is not None
            and not service.spec.selector
            and endpoints is not None
            and endpoints.metadata.deletion_timestamp is None
            and endpoints.metadata.labels.get(_SKIP_MIRROR) != "true"
        )
        try:
            if endpoints is not None and is_mirrored:
                owned_by_us = (_SKIP_MIRROR, _MANAGED_BY)
                await self._writer.write(
                    namespace,
                    name,
                    mirrored_contents(endpoints),
                    labels={k: v for k, v in endpoints.metadata.labels.items() if k not in owned_by_us},
                    owner=endpoints.owner_reference(),
                )
            else:
                await self._writer.write(namespace, name, [], labels={}, owner=None)
        except (NotFound, Forbidden):
            return _RETRY_S
        return None


def _subset_objects(subsets: list[EndpointSubset]) -> list[dict[str, object]]:
    objects = []
    for subset in subsets:
        item = msgspec.to_builtins(subset)
        item["ports"] = port_objects(subset.ports)
        objects.append(item)
    return objects
