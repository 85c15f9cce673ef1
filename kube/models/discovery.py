"""discovery.k8s.io/v1: EndpointSlice."""

from typing import ClassVar

from msgspec import field

from kube.models.core import EndpointPort, ObjectReference
from kube.models.meta import Model, Resource, ResourceInfo

__all__ = ["SERVICE_NAME_LABEL", "Endpoint", "EndpointConditions", "EndpointSlice"]

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""Label that names the Service of a slice."""


class EndpointConditions(Model, omit_defaults=False):
    """`ready` None counts as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Model):
    """One backend of a slice."""

    addresses: list[str] = []
    conditions: EndpointConditions = field(default_factory=EndpointConditions)
    target_ref: ObjectReference | None = None
    node_name: str | None = None


class EndpointSlice(Resource):
    """A part of the addresses behind a Service, found by the label `kubernetes.io/service-name`."""

    RESOURCE: ClassVar = ResourceInfo("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
    address_type: str = ""
    endpoints: list[Endpoint] = []
    ports: list[EndpointPort] = []
