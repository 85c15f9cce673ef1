"""batch/v1: Job. The pod template stays a plain dict, so that nothing a user wrote is lost."""

from typing import Any, ClassVar

from msgspec import field

from kube.models.meta import Condition, Model, Resource, ResourceInfo

__all__ = ["Job", "JobSpec", "JobStatus"]


class JobSpec(Model):
    """How often a pod has to succeed; `template` is a raw PodTemplateSpec."""

    completions: int | None = None
    parallelism: int | None = None
    backoff_limit: int | None = None
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    suspend: bool = False
    template: dict[str, Any] = {}


class JobStatus(Model):
    """What the Job controller observed."""

    start_time: str | None = None
    completion_time: str | None = None
    active: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    conditions: list[Condition] = []


class Job(Resource):
    """Pods that run to their end."""

    RESOURCE: ClassVar = ResourceInfo("batch", "v1", "jobs", "Job")
    spec: JobSpec = field(default_factory=JobSpec)
    status: JobStatus = field(default_factory=JobStatus)
