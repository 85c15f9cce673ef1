"""ServerlessService: decides what stands behind a Revision's public Service, its pods or the activators.

Rewiring a route means one write here, of the public Endpoints; everything else follows from watching them. The pure
part (`public_subsets`) chooses the addresses. Source: knative/serving `pkg/reconciler/serverlessservice`; spec
autoscaler.md 10.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from controller import keys, queue_container
from controller.cluster import ACTIVATOR_SERVICE, Cluster
from controller.collection import NOT_OWNED_RETRY_S, Collection, Reconciler
from kube.conditions import Conditions, ConditionSet
from kube.models.core import Endpoints, EndpointSubset, Service
from kube.models.networking import ServerlessService, ServerlessServiceStatus
from kube.names import child_name
from kube.subset import choose_subset

__all__ = [
    "CONDITIONS",
    "ServerlessServiceReconciler",
    "private_name",
    "private_service",
    "public_service",
    "public_subsets",
]

JsonObject = dict[str, Any]

CONDITIONS = ConditionSet(("EndpointsPopulated",))
NOT_READY_MESSAGE = "K8s Service is not ready"
BACKED_BY_ACTIVATOR = "Revision is backed by Activator"
USER_METRICS = "http-usermetric"
AUTO_METRICS = "http-autometric"
_H2C: Final = "kubernetes.io/h2c"


class _NotOwned(Exception):
    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"Resource {name} of type {kind} is not owned by SKS")


class ServerlessServiceReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[ServerlessService]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.serverless_services, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(
        self, sks: ServerlessService, status: ServerlessServiceStatus, conditions: Conditions
    ) -> float | None:
        """One pass: private Service, public Service, public Endpoints. What is missing is waited for."""
        target = self._cluster.deployments.get(sks.namespace, sks.spec.object_ref.name)
        if target is None:
            return None
        try:
            selector = target.spec.selector.match_labels
            await self._service(sks, private_service(sks, selector), "PrivateService", conditions)
            status.private_service_name = private_name(sks)
            await self._service(sks, public_service(sks), "PublicService", conditions)
            status.service_name = sks.name
            await self._public_endpoints(sks, conditions)
        except _NotOwned as error:
            conditions.mark_false("EndpointsPopulated", "NotOwned", str(error))
            return NOT_OWNED_RETRY_S
        return None

    async def _service(self, sks: ServerlessService, wanted: JsonObject, what: str, conditions: Conditions) -> None:
        services = self._cluster.core_services
        existing = services.get(sks.namespace, wanted["metadata"]["name"])
        if existing is None:
            conditions.mark_unknown("EndpointsPopulated", f"Creating{what}", NOT_READY_MESSAGE)
            await services.create(wanted)
            return
        if not existing.is_controlled_by(sks):
            raise _NotOwned("Service", existing.name)
        operations = _service_drift(existing, wanted)
        if operations:
            conditions.mark_unknown("EndpointsPopulated", f"Updating{what}", NOT_READY_MESSAGE)
            await services.patch(existing, operations, type="json")

    async def _public_endpoints(self, sks: ServerlessService, conditions: Conditions) -> None:
        endpoints: Collection[Endpoints] = self._cluster.endpoints
        activators = endpoints.get(self._cluster.system_namespace, ACTIVATOR_SERVICE)
        private = endpoints.get(sks.namespace, private_name(sks))
        if activators is None or private is None:
            # Both are watched: whichever is missing brings us back here when it appears.
            return
        subsets = public_subsets(sks, private.subsets, activators.subsets)
        existing = endpoints.get(sks.namespace, sks.name)
        if existing is None:
            conditions.mark_unknown("EndpointsPopulated", "CreatingPublicEndpoints", NOT_READY_MESSAGE)
            await endpoints.create(_public_endpoints(sks, subsets))
        elif not existing.is_controlled_by(sks):
            raise _NotOwned("Endpoints", existing.name)
        elif existing.subsets != subsets:
            operation = {"op": "add", "path": "/subsets", "value": [msgspec.to_builtins(subset) for subset in subsets]}
            await endpoints.patch(existing, [operation], type="json")
        has_pods = _ready_addresses(private.subsets) > 0
        if has_pods:
            conditions.mark_true("EndpointsPopulated")
        else:
            conditions.mark_unknown("EndpointsPopulated", "NoHealthyBackends", NOT_READY_MESSAGE)
        # The wanted mode counts here, not what the addresses turned out to be.
        mark = conditions.mark_true if not has_pods or sks.spec.mode == "Proxy" else conditions.mark_false
        mark("ActivatorEndpointsPopulated", "ActivatorEndpointsPopulated", BACKED_BY_ACTIVATOR)


def private_name(sks: ServerlessService) -> str:
    """Name of the Service that selects the pods."""
    return child_name(sks.metadata.name, "-private")


def private_service(sks: ServerlessService, selector: dict[str, str]) -> JsonObject:
    """The Service that selects the pods: requests, stats, user metrics."""
    name, port = _serving_port(sks)
    ports = [
        _port(name, 80, port, h2c=name == "http2"),
        _port("https", 443, queue_container.TLS_PORT),
        _port(AUTO_METRICS, queue_container.METRICS_PORT, AUTO_METRICS),
        _port(USER_METRICS, queue_container.USER_METRICS_PORT, USER_METRICS),
        _port(f"{name}-istio", port, port),
    ]
    return _service(sks, private_name(sks), "Private", {"ports": ports, "selector": dict(selector)})


def public_service(sks: ServerlessService) -> JsonObject:
    """The Service that the gateway sends to. It selects nothing: its Endpoints are written here."""
    name, port = _serving_port(sks)
    ports = [
        _port(name, 81 if name == "http2" else 80, port, h2c=name == "http2"),
        _port("https", 443, queue_container.TLS_PORT),
    ]
    return _service(sks, sks.metadata.name, "Public", {"ports": ports})


def public_subsets(
    sks: ServerlessService, private: Sequence[EndpointSubset], activators: Sequence[EndpointSubset]
) -> list[EndpointSubset]:
    """The addresses behind the public Service.

    In mode Serve the pods, else some activators; without ready pods always activators, and without ready activators
    always pods, whatever the mode says. When nobody is ready, activators that are there and not ready are asked: on a
    machine that is too busy to answer probes in time they are late, and nobody at all would be an error for certain.
    """
    serves = sks.spec.mode == "Serve" and _ready_addresses(private) > 0
    if _ready_addresses(activators) == 0:
        serves = _ready_addresses(private) > 0
        activators = [
            msgspec.structs.replace(subset, addresses=subset.not_ready_addresses, not_ready_addresses=[])
            for subset in activators
            if subset.not_ready_addresses
        ]
    chosen = list(private) if serves else _activator_subset(sks, activators)
    ports = {_serving_port(sks)[1], queue_container.TLS_PORT}
    kept = [
        msgspec.structs.replace(subset, ports=[port for port in subset.ports if port.port in ports])
        for subset in chosen
    ]
    return [subset for subset in kept if subset.ports]


def _activator_subset(sks: ServerlessService, subsets: Sequence[EndpointSubset]) -> list[EndpointSubset]:
    """The activators that belong to this Revision, in the order in which they are listed."""
    ips = {address.ip for subset in subsets for address in subset.addresses}
    wanted = sks.spec.num_activators
    if wanted == 0 or len(ips) <= wanted:
        return list(subsets)
    chosen = choose_subset(ips, wanted, sks.metadata.name)
    kept = [
        msgspec.structs.replace(
            subset,
            addresses=[address for address in subset.addresses if address.ip in chosen],
            not_ready_addresses=[],
        )
        for subset in subsets
    ]
    return [subset for subset in kept if subset.addresses]


def _public_endpoints(sks: ServerlessService, subsets: Sequence[EndpointSubset]) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": _metadata(sks, sks.metadata.name, "Public"),
        "subsets": [msgspec.to_builtins(subset) for subset in subsets],
    }


def _serving_port(sks: ServerlessService) -> tuple[str, int]:
    """Name and number of the port that requests arrive at in the pods and in the activator."""
    if sks.spec.protocol_type == "h2c":
        return "http2", queue_container.HTTP2_PORT
    return "http", queue_container.HTTP_PORT


def _port(name: str, port: int, target: int | str, *, h2c: bool = False) -> JsonObject:
    found: JsonObject = {"name": name, "port": port, "targetPort": target, "protocol": "TCP"}
    return found | {"appProtocol": _H2C} if h2c else found


def _service(sks: ServerlessService, name: str, type_: str, spec: JsonObject) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(sks, name, type_), "spec": spec}


def _metadata(sks: ServerlessService, name: str, type_: str) -> JsonObject:
    return {
        "name": name,
        "namespace": sks.metadata.namespace,
        "labels": {**sks.metadata.labels, keys.SERVERLESS_SERVICE: sks.metadata.name, keys.SERVICE_TYPE: type_},
        "annotations": dict(sks.metadata.annotations),
        "ownerReferences": [msgspec.to_builtins(sks.owner_reference())],
    }


def _service_drift(existing: Service, wanted: JsonObject) -> list[JsonObject]:
    spec = wanted["spec"]
    held = [(port.name, port.port, port.target_port, port.app_protocol) for port in existing.spec.ports]
    asked = [(port["name"], port["port"], port["targetPort"], port.get("appProtocol")) for port in spec["ports"]]
    operations: list[JsonObject] = []
    if held != asked:
        operations.append({"op": "add", "path": "/spec/ports", "value": spec["ports"]})
    selector = spec.get("selector", {})
    if existing.spec.selector != selector:
        operations.append({"op": "add", "path": "/spec/selector", "value": selector})
    return operations


def _ready_addresses(subsets: Sequence[EndpointSubset]) -> int:
    return sum(len(subset.addresses) for subset in subsets)
