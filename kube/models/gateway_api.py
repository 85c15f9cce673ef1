"""gateway.networking.k8s.io: HTTPRoute, Gateway and ReferenceGrant, as far as Ingresses become such.

Specs are plain: what others write into them survives. Source: the Gateway API's reference, version 1.
"""

from typing import Any, ClassVar

from msgspec import field

from kube.models.meta import Condition, Model, Resource, ResourceInfo

__all__ = [
    "Gateway",
    "GatewayAddress",
    "GatewayStatus",
    "HTTPRoute",
    "HTTPRouteStatus",
    "ReferenceGrant",
    "RouteParent",
]

_GROUP = "gateway.networking.k8s.io"


class RouteParent(Model):
    """What a Gateway's controller says of a route that is attached to it."""

    parent_ref: dict[str, Any] = {}
    conditions: list[Condition] = []


class HTTPRouteStatus(Model):
    """One entry for each Gateway that has looked at it."""

    parents: list[RouteParent] = []


class HTTPRoute(Resource):
    """Hosts and paths to Services, by the Gateways that it is attached to."""

    RESOURCE: ClassVar = ResourceInfo(_GROUP, "v1", "httproutes", "HTTPRoute")
    spec: dict[str, Any] = {}
    status: HTTPRouteStatus = field(default_factory=HTTPRouteStatus)


class GatewayAddress(Model):
    """Where a Gateway is reached; `type` is `IPAddress` (also when it is empty) or `Hostname`."""

    type: str = ""
    value: str = ""


class GatewayStatus(Model):
    """Where it is."""

    addresses: list[GatewayAddress] = []


class Gateway(Resource):
    """A gateway and its listeners."""

    RESOURCE: ClassVar = ResourceInfo(_GROUP, "v1", "gateways", "Gateway")
    spec: dict[str, Any] = {}
    status: GatewayStatus = field(default_factory=GatewayStatus)


class ReferenceGrant(Resource):
    """Whose references into its namespace are allowed."""

    RESOURCE: ClassVar = ResourceInfo(_GROUP, "v1beta1", "referencegrants", "ReferenceGrant")
    spec: dict[str, Any] = {}
