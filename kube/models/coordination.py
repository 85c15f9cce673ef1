"""coordination.k8s.io/v1: Lease."""

from typing import ClassVar

from msgspec import field

from kube.models.meta import Model, Resource, ResourceInfo

__all__ = ["Lease", "LeaseSpec"]


class LeaseSpec(Model):
    """Who holds the lease and until when."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Resource):
    """A lock that expires."""

    RESOURCE: ClassVar = ResourceInfo("coordination.k8s.io", "v1", "leases", "Lease")
    spec: LeaseSpec = field(default_factory=LeaseSpec)
