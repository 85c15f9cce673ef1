"""apps/v1: Deployment and ReplicaSet. Pod templates stay plain dicts, so that nothing a user wrote is lost."""

from typing import Any, ClassVar

from msgspec import field

from kube.models.meta import Condition, LabelSelector, Model, Resource, ResourceInfo

__all__ = ["Deployment", "DeploymentSpec", "DeploymentStatus", "ReplicaSet", "ReplicaSetSpec", "ReplicaSetStatus"]


class DeploymentSpec(Model):
    """What a Deployment should look like; `template` is a raw PodTemplateSpec."""

    replicas: int | None = None
    selector: LabelSelector = field(default_factory=LabelSelector)
    template: dict[str, Any] = {}
    strategy: dict[str, Any] = {}
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None
    progress_deadline_seconds: int | None = None
    paused: bool = False


class DeploymentStatus(Model):
    """What the Deployment controller observed."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    conditions: list[Condition] = []


class Deployment(Resource):
    """A number of equal pods, replaced step by step when the template changes."""

    RESOURCE: ClassVar = ResourceInfo("apps", "v1", "deployments", "Deployment")
    spec: DeploymentSpec = field(default_factory=DeploymentSpec)
    status: DeploymentStatus = field(default_factory=DeploymentStatus)


class ReplicaSetSpec(Model):
    """What a ReplicaSet should look like."""

    replicas: int | None = None
    selector: LabelSelector = field(default_factory=LabelSelector)
    template: dict[str, Any] = {}
    min_ready_seconds: int = 0


class ReplicaSetStatus(Model, omit_defaults=False):
    """What the ReplicaSet controller observed."""

    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    fully_labeled_replicas: int = 0
    observed_generation: int = 0
    conditions: list[Condition] = []


class ReplicaSet(Resource):
    """A number of equal pods of one template."""

    RESOURCE: ClassVar = ResourceInfo("apps", "v1", "replicasets", "ReplicaSet")
    spec: ReplicaSetSpec = field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = field(default_factory=ReplicaSetStatus)
