"""serving.knative.dev: Service, Configuration, Revision, Route, DomainMapping (spec control-plane.md 4, 10).

Revision templates and revision specs are plain dicts: they inline a whole pod spec, of which nothing may be lost.
`Revision`'s properties read from them what the data plane needs.
"""

from typing import Any, ClassVar

from msgspec import field

from kube.models.meta import Condition, Model, Resource, ResourceInfo

__all__ = [
    "Configuration",
    "ConfigurationSpec",
    "ConfigurationStatus",
    "DomainMapping",
    "DomainMappingSpec",
    "DomainMappingStatus",
    "DomainMappingTLS",
    "Reference",
    "Revision",
    "RevisionStatus",
    "Route",
    "RouteSpec",
    "RouteStatus",
    "Service",
    "ServiceSpec",
    "ServiceStatus",
    "TrafficTarget",
]

GROUP = "serving.knative.dev"


class TrafficTarget(Model):
    """A share of a Route's traffic. `url` stands in the status only."""

    tag: str = ""
    revision_name: str = ""
    configuration_name: str = ""
    latest_revision: bool | None = None
    percent: int | None = None
    url: str = ""


class ConfigurationSpec(Model):
    """`template` is a raw RevisionTemplateSpec: {metadata, spec}."""

    template: dict[str, Any] = {}


class ConfigurationStatus(Model):
    """Newest and newest ready Revision."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    annotations: dict[str, str] = {}
    latest_ready_revision_name: str = ""
    latest_created_revision_name: str = ""


class Configuration(Resource):
    """The floating HEAD of a history of Revisions."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "configurations", "Configuration")
    spec: ConfigurationSpec = field(default_factory=ConfigurationSpec)
    status: ConfigurationStatus = field(default_factory=ConfigurationStatus)


class RevisionStatus(Model):
    """What became of a Revision."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    log_url: str = ""
    container_statuses: list[dict[str, Any]] = []
    init_container_statuses: list[dict[str, Any]] = []
    actual_replicas: int | None = None
    desired_replicas: int | None = None


class Revision(Resource):
    """An immutable snapshot of code and configuration. `spec` is raw: a pod spec with Knative's fields inlined."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "revisions", "Revision")
    spec: dict[str, Any] = {}
    status: RevisionStatus = field(default_factory=RevisionStatus)

    @property
    def container_concurrency(self) -> int:
        """Requests at once per pod; 0 is unlimited."""
        return int(self.spec.get("containerConcurrency") or 0)

    @property
    def timeout_s(self) -> int:
        """Longest total time of a request, in seconds; 0 when defaulting never saw the object."""
        return int(self.spec.get("timeoutSeconds") or 0)

    @property
    def response_start_timeout_s(self) -> int:
        """Longest wait for the first response byte, in seconds; 0 is off."""
        return int(self.spec.get("responseStartTimeoutSeconds") or 0)

    @property
    def idle_timeout_s(self) -> int:
        """Longest gap between response writes, in seconds; 0 is off."""
        return int(self.spec.get("idleTimeoutSeconds") or 0)

    @property
    def protocol(self) -> str:
        """`h2c` when the serving port is named so, else `http1`."""
        for container in self.spec.get("containers") or []:
            for port in container.get("ports") or []:
                return "h2c" if port.get("name") == "h2c" else "http1"
        return "http1"


class RouteSpec(Model):
    """How traffic is shared."""

    traffic: list[TrafficTarget] = []


class RouteStatus(Model):
    """Where traffic goes, and under which URL."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    annotations: dict[str, str] = {}
    url: str = ""
    address: dict[str, str] | None = None
    traffic: list[TrafficTarget] = []


class Route(Resource):
    """A name for traffic, spread over Revisions."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "routes", "Route")
    spec: RouteSpec = field(default_factory=RouteSpec)
    status: RouteStatus = field(default_factory=RouteStatus)


class ServiceSpec(Model):
    """A Configuration and a Route in one."""

    template: dict[str, Any] = {}
    traffic: list[TrafficTarget] = []


class ServiceStatus(Model):
    """The states of both."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    annotations: dict[str, str] = {}
    url: str = ""
    address: dict[str, str] | None = None
    traffic: list[TrafficTarget] = []
    latest_ready_revision_name: str = ""
    latest_created_revision_name: str = ""


class Service(Resource):
    """What a user applies: one program, its history, and its traffic."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "services", "Service")
    spec: ServiceSpec = field(default_factory=ServiceSpec)
    status: ServiceStatus = field(default_factory=ServiceStatus)


class Reference(Model):
    """An object of the same namespace that has an address."""

    kind: str = ""
    name: str = ""
    api_version: str = ""
    namespace: str = ""


class DomainMappingTLS(Model):
    """A Secret with a certificate of the user's own."""

    secret_name: str = ""


class DomainMappingSpec(Model):
    """What the domain leads to."""

    ref: Reference = field(default_factory=Reference)
    tls: DomainMappingTLS | None = None


class DomainMappingStatus(Model):
    """Whether it does."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    annotations: dict[str, str] = {}
    url: str = ""
    address: dict[str, str] | None = None


class DomainMapping(Resource):
    """A domain of one's own for something with an address; its name is the domain."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1beta1", "domainmappings", "DomainMapping")
    spec: DomainMappingSpec = field(default_factory=DomainMappingSpec)
    status: DomainMappingStatus = field(default_factory=DomainMappingStatus)
