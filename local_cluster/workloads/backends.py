"""Which pods stand behind a Service, and how Endpoints and EndpointSlices write them down.

Pure. An address belongs into Endpoints as soon as the pod has one: ready pods under `addresses`, the others under
`notReadyAddresses` (the activator probes those). Pods that are being deleted leave Endpoints at once and stay in
EndpointSlices as terminating. Source: Kubernetes documentation, "Service" and "EndpointSlices"; api-clients statements
53 and 54.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kube.models.core import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, ObjectReference, Pod, Service
from kube.models.discovery import Endpoint, EndpointConditions

__all__ = [
    "Backend",
    "SliceContent",
    "endpoint_subsets",
    "is_selected",
    "mirrored_contents",
    "service_backends",
    "slice_contents",
]

SLICE_ENDPOINTS_MAX = 100
Ports = tuple[tuple[str, int, str, str | None], ...]
"""(name, number, protocol, appProtocol) of every port, sorted: what makes backends belong together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One pod behind a Service."""

    pod: Pod
    ip: str
    is_serving: bool
    is_terminating: bool
    is_published: bool
    """Counts as ready: serving and not terminating, or the Service publishes all."""
    ports: Ports


@dataclass(frozen=True, slots=True)
class SliceContent:
    """What one EndpointSlice holds."""

    ports: list[EndpointPort]
    endpoints: list[Endpoint]


def is_selected(service: Service, labels: Mapping[str, str]) -> bool:
    """Whether a pod with `labels` stands behind `service`. A Service without selector has no pods of its own."""
    selector = service.spec.selector
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def service_backends(service: Service, pods: Iterable[Pod]) -> list[Backend]:
    """The selected pods that have an address and did not end, sorted by address."""
    backends = []
    for pod in pods:
        if not pod.status.pod_ip or pod.status.phase in ("Succeeded", "Failed"):
            continue
        if not is_selected(service, pod.metadata.labels):
            continue
        is_serving = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
        is_terminating = pod.metadata.deletion_timestamp is not None
        backends.append(
            Backend(
                pod=pod,
                ip=pod.status.pod_ip,
                is_serving=is_serving,
                is_terminating=is_terminating,
                is_published=(is_serving and not is_terminating) or service.spec.publish_not_ready_addresses,
                ports=_ports(service, pod),
            )
        )
    return sorted(backends, key=lambda backend: backend.ip)


def endpoint_subsets(service: Service, backends: Iterable[Backend]) -> list[EndpointSubset]:
    """`subsets` of the Endpoints object: a subset per set of ports."""
    subsets: dict[Ports, EndpointSubset] = {}
    for backend in backends:
        if backend.is_terminating and not service.spec.publish_not_ready_addresses:
            continue
        if not backend.ports and service.spec.ports:
            continue  # none of the Service's ports exists in that pod
        subset = subsets.setdefault(backend.ports, EndpointSubset(ports=_endpoint_ports(backend.ports)))
        address = EndpointAddress(
            ip=backend.ip, node_name=backend.pod.spec.node_name or None, target_ref=_reference(backend.pod)
        )
        (subset.addresses if backend.is_published else subset.not_ready_addresses).append(address)
    return [subset for _, subset in sorted(subsets.items(), key=lambda item: item[0][:1])]


def slice_contents(service: Service, backends: Iterable[Backend]) -> list[SliceContent]:
    """The contents of the Service's EndpointSlices, at most 100 endpoints each."""
    groups: defaultdict[Ports, list[Endpoint]] = defaultdict(list)
    for backend in backends:
        if not backend.ports and service.spec.ports:
            continue
        groups[backend.ports].append(
            Endpoint(
                addresses=[backend.ip],
                conditions=EndpointConditions(
                    ready=backend.is_published, serving=backend.is_serving, terminating=backend.is_terminating
                ),
                node_name=backend.pod.spec.node_name or None,
                target_ref=_reference(backend.pod),
            )
        )
    return _chunked((_endpoint_ports(ports), endpoints) for ports, endpoints in groups.items())


def mirrored_contents(endpoints: Endpoints) -> list[SliceContent]:
    """The slices that mirror Endpoints which someone wrote for a Service without selector."""
    return _chunked(
        (
            subset.ports,
            [
                Endpoint(
                    addresses=[address.ip],
                    conditions=EndpointConditions(ready=ready),
                    node_name=address.node_name,
                    target_ref=address.target_ref,
                )
                for addresses, ready in ((subset.addresses, True), (subset.not_ready_addresses, False))
                for address in addresses
            ],
        )
        for subset in endpoints.subsets
    )


def _ports(service: Service, pod: Pod) -> Ports:
    found = []
    for port in service.spec.ports:
        number = _port_number(port.target_port or port.port, port.protocol, pod)
        if number is not None:
            found.append((port.name, number, port.protocol, port.app_protocol))
    return tuple(sorted(found, key=lambda item: item[:3]))


def _port_number(target: int | str, protocol: str, pod: Pod) -> int | None:
    if isinstance(target, int):
        return target
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for port in container.ports:
            if port.name == target and (port.protocol or "TCP") == protocol:
                return port.container_port
    return int(target) if target.isdigit() else None


def _endpoint_ports(ports: Ports) -> list[EndpointPort]:
    return [
        EndpointPort(name=name, port=number, protocol=proto, app_protocol=app) for name, number, proto, app in ports
    ]


def _reference(pod: Pod) -> ObjectReference:
    return ObjectReference(kind="Pod", namespace=pod.namespace, name=pod.name, uid=pod.metadata.uid)


def _chunked(groups: Iterable[tuple[list[EndpointPort], list[Endpoint]]]) -> list[SliceContent]:
    return [
        SliceContent(ports, endpoints[start : start + SLICE_ENDPOINTS_MAX])
        for ports, endpoints in groups
        for start in range(0, len(endpoints), SLICE_ENDPOINTS_MAX)
    ]
