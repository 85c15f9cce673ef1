"""sources.knative.dev: PingSource, ApiServerSource, ContainerSource, SinkBinding, JetStreamSource.

Source: spec eventing-sources.md 1-5. JetStreamSource has no counterpart among the originals.
"""

from typing import Any, ClassVar

from msgspec import field

from kube.models.duck import Auth, Destination, PlainStatus, SubjectReference
from kube.models.meta import LabelSelector, Model, Resource, ResourceInfo

__all__ = [
    "ApiServerResource",
    "ApiServerSource",
    "ApiServerSourceSpec",
    "ApiServerSourceStatus",
    "CloudEventAttributes",
    "CloudEventOverrides",
    "ContainerSource",
    "ContainerSourceSpec",
    "JetStreamSource",
    "JetStreamSourceSpec",
    "OwnerFilter",
    "PingSource",
    "PingSourceSpec",
    "SinkBinding",
    "SinkBindingSpec",
    "SinkBindingStatus",
    "SourceSpec",
    "SourceStatus",
]

GROUP = "sources.knative.dev"


class CloudEventOverrides(Model):
    """Extensions that every event gets."""

    extensions: dict[str, str] = {}


class SourceSpec(Model):
    """What every source's spec has."""

    sink: Destination = field(default_factory=Destination)
    ce_overrides: CloudEventOverrides | None = None


class CloudEventAttributes(Model):
    """What events of a source look like."""

    type: str = ""
    source: str = ""


class SourceStatus(PlainStatus):
    """The sink, resolved, and what will be sent there."""

    sink_uri: str | None = None
    sink_ca_certs: str | None = field(default=None, name="sinkCACerts")
    sink_audience: str | None = None
    ce_attributes: list[CloudEventAttributes] = []
    auth: Auth | None = None


class PingSourceSpec(SourceSpec):
    """`schedule` is cron text of five or six fields; `data` and `data_base64` exclude each other."""

    schedule: str = ""
    timezone: str = ""
    content_type: str = ""
    data: str = ""
    data_base64: str = ""


class PingSource(Resource):
    """Events at times."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "pingsources", "PingSource")
    spec: PingSourceSpec = field(default_factory=PingSourceSpec)
    status: SourceStatus = field(default_factory=SourceStatus)


class ApiServerResource(Model):
    """A kind of objects to watch, or those of them that have the labels."""

    api_version: str = ""
    kind: str = ""
    selector: LabelSelector | None = None


class OwnerFilter(Model):
    """Only objects that an object of this kind controls."""

    api_version: str = ""
    kind: str = ""


class ApiServerSourceSpec(SourceSpec):
    """`mode` is `Reference` or `Resource`. No `namespace_selector`: its own namespace; an empty one: all."""

    resources: list[ApiServerResource] = []
    owner: OwnerFilter | None = None
    mode: str = ""
    service_account_name: str = ""
    namespace_selector: LabelSelector | None = None
    filters: list[dict[str, Any]] = []


class ApiServerSourceStatus(SourceStatus):
    """`namespaces` are those that are watched, sorted."""

    namespaces: list[str] = []


class ApiServerSource(Resource):
    """Events of what happens to objects of the cluster."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "apiserversources", "ApiServerSource")
    spec: ApiServerSourceSpec = field(default_factory=ApiServerSourceSpec)
    status: ApiServerSourceStatus = field(default_factory=ApiServerSourceStatus)


class ContainerSourceSpec(SourceSpec):
    """`template` is a raw pod template."""

    template: dict[str, Any] = {}


class ContainerSource(Resource):
    """Events that containers of the user's own send."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "containersources", "ContainerSource")
    spec: ContainerSourceSpec = field(default_factory=ContainerSourceSpec)
    status: SourceStatus = field(default_factory=SourceStatus)


class SinkBindingSpec(SourceSpec):
    """`subject` has a pod template at `spec.template`."""

    subject: SubjectReference = field(default_factory=SubjectReference)


class SinkBindingStatus(SourceStatus):
    """What was injected."""

    oidc_token_secret_name: str | None = None


class SinkBinding(Resource):
    """Tells the containers of other objects where the sink is."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "sinkbindings", "SinkBinding")
    spec: SinkBindingSpec = field(default_factory=SinkBindingSpec)
    status: SinkBindingStatus = field(default_factory=SinkBindingStatus)


class JetStreamSourceSpec(SourceSpec):
    """`url` empty: the NATS of ConfigMap `config-nats`. `consumer` names the durable consumer, by default the source's.

    `event_type` and `content_type` are for messages that are no events themselves.
    """

    url: str = ""
    stream: str = ""
    subject: str = ""
    consumer: str = ""
    deliver_policy: str = ""
    ack_wait: str = ""
    max_ack_pending: int = 0
    event_type: str = ""
    content_type: str = ""


class JetStreamSource(Resource):
    """Events from the messages of a stream of NATS."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1alpha1", "jetstreamsources", "JetStreamSource")
    spec: JetStreamSourceSpec = field(default_factory=JetStreamSourceSpec)
    status: SourceStatus = field(default_factory=SourceStatus)
