"""Bringing the EndpointSlices of one Service to the wanted contents with as few writes as possible."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from kube.client import Client
from kube.errors import NotFound
from kube.informer import Informer
from kube.models.core import EndpointPort
from kube.models.discovery import SERVICE_NAME_LABEL, EndpointSlice
from kube.models.meta import ObjectMeta, OwnerReference
from local_cluster.workloads.backends import SliceContent
from local_cluster.workloads.local_writes import take_in
from local_cluster.workloads.naming import generated_name

__all__ = ["MANAGED_BY_LABEL", "SLICE_INDEX", "SliceWriter", "port_objects", "slice_services"]

MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
SLICE_INDEX = "service"


def slice_services(endpoint_slice: EndpointSlice) -> list[str]:
    """Index by `namespace/service/manager`."""
    labels = endpoint_slice.metadata.labels
    return [f"{endpoint_slice.namespace}/{labels.get(SERVICE_NAME_LABEL)}/{labels.get(MANAGED_BY_LABEL)}"]


def port_objects(ports: list[EndpointPort]) -> list[dict[str, Any]]:
    """Ports for the API, with the protocol and the (maybe empty) name always written."""
    objects = []
    for port in ports:
        item: dict[str, Any] = {"name": port.name, "port": port.port, "protocol": port.protocol}
        if port.app_protocol is not None:
            item["appProtocol"] = port.app_protocol
        objects.append(item)
    return objects


@dataclass(frozen=True, slots=True)
class SliceWriter:
    """Writes the slices of one manager (a controller's name). `slices` is shared, indexed by `SLICE_INDEX`."""

    client: Client
    slices: Informer[EndpointSlice]
    manager: str

    async def write(
        self,
        namespace: str,
        service: str,
        contents: list[SliceContent],
        *,
        labels: Mapping[str, str],
        owner: OwnerReference | None,
    ) -> None:
        """Make the slices of `service` hold `contents`; surplus ones are deleted. `labels` are the Service's."""
        wanted_labels = {**labels, SERVICE_NAME_LABEL: service, MANAGED_BY_LABEL: self.manager}
        held = self.slices.by_index(SLICE_INDEX, f"{namespace}/{service}/{self.manager}")
        # A slice of a predecessor of the same name goes with it, whatever is written into it: it is left to do so.
        former = [piece for piece in held if owner is not None and not _is_owned(piece, owner)]
        spare = {s.name: s for s in sorted(held, key=lambda s: s.name) if s not in former}
        missing = []
        for content in contents:
            fitting = _take_fitting(spare, content)
            if fitting is None:
                missing.append(content)
            else:
                await self._update(fitting, content, wanted_labels)
        for content in missing:
            if spare:
                await self._update(spare.pop(next(iter(spare))), content, wanted_labels)
            else:
                await self._create(namespace, service, content, wanted_labels, owner)
        for surplus in (*spare.values(), *former):
            try:
                await self.client.delete(EndpointSlice, surplus.name, namespace)
            except NotFound:
                continue

    async def _update(self, held: EndpointSlice, content: SliceContent, labels: Mapping[str, str]) -> None:
        if (held.endpoints, held.ports, held.metadata.labels) == (content.endpoints, content.ports, labels):
            return
        stale: dict[str, str | None] = {key: None for key in held.metadata.labels if key not in labels}
        patch = {"metadata": {"labels": {**stale, **labels}}, **_body(content)}
        take_in(self.slices, await self.client.patch(EndpointSlice, held.name, held.namespace, patch))

    async def _create(
        self,
        namespace: str,
        service: str,
        content: SliceContent,
        labels: Mapping[str, str],
        owner: OwnerReference | None,
    ) -> None:
        metadata = ObjectMeta(
            name=generated_name(f"{service}-"),
            generate_name=f"{service}-",
            namespace=namespace,
            labels=dict(labels),
            owner_references=[owner] if owner is not None else [],
        )
        body = {
            "apiVersion": EndpointSlice.RESOURCE.api_version,
            "kind": EndpointSlice.RESOURCE.kind,
            "metadata": metadata,
            "addressType": _address_type(content),
            **_body(content),
        }
        path = EndpointSlice.RESOURCE.path(namespace)
        answer = await self.client.raw("POST", path, body=msgspec.json.encode(body))
        # Known at once, or the next change would make a second one.
        self.slices.apply_local(msgspec.json.decode(answer, type=EndpointSlice))


def _is_owned(piece: EndpointSlice, owner: OwnerReference) -> bool:
    return any(reference.uid == owner.uid for reference in piece.metadata.owner_references)


def _take_fitting(spare: dict[str, EndpointSlice], content: SliceContent) -> EndpointSlice | None:
    """The held slice for these ports, taken out of `spare`; None when there is none."""
    name = next(
        (
            name
            for name, held in spare.items()
            if held.ports == content.ports and held.address_type == _address_type(content)
        ),
        None,
    )
    return None if name is None else spare.pop(name)


def _body(content: SliceContent) -> dict[str, Any]:
    return {"endpoints": msgspec.to_builtins(content.endpoints), "ports": port_objects(content.ports)}


def _address_type(content: SliceContent) -> str:
    return "IPv6" if content.endpoints and ":" in content.endpoints[0].addresses[0] else "IPv4"
