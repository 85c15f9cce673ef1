"""sinks.knative.dev: JobSink (spec eventing-sources.md 9). The Job stays a plain dict: nothing a user wrote is lost."""

from typing import Any, ClassVar

from msgspec import field

from kube.models.duck import AddressableStatus
from kube.models.meta import Model, Resource, ResourceInfo

__all__ = ["ID_LABEL", "NAME_LABEL", "JobSink", "JobSinkJobStatus", "JobSinkSpec", "JobSinkStatus"]

GROUP = "sinks.knative.dev"

NAME_LABEL = "sinks.knative.dev/job-sink-name"
"""On Jobs and Secrets of events: the JobSink's name."""
ID_LABEL = "sinks.knative.dev/job-sink-id"
"""On the same: the Job's name, which stands for one event."""


class JobSinkSpec(Model):
    """`job` is a raw Job: what is made of each event."""

    job: dict[str, Any] = {}


class JobSinkJobStatus(Model):
    """`selector` finds the Jobs of a JobSink."""

    selector: str = ""


class JobSinkStatus(AddressableStatus):
    """Its address, and how to find its Jobs."""

    job: JobSinkJobStatus | None = None


class JobSink(Resource):
    """Runs a Job for each event."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1alpha1", "jobsinks", "JobSink")
    spec: JobSinkSpec = field(default_factory=JobSinkSpec)
    status: JobSinkStatus = field(default_factory=JobSinkStatus)
