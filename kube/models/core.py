"""Core v1: pods, services, endpoints and the small kinds around them."""

from typing import Any, ClassVar

from msgspec import field

from kube.models.meta import Condition, Model, Resource, ResourceInfo

__all__ = [
    "ConfigMap",
    "Container",
    "ContainerPort",
    "ContainerState",
    "ContainerStateRunning",
    "ContainerStateTerminated",
    "ContainerStateWaiting",
    "ContainerStatus",
    "EndpointAddress",
    "EndpointPort",
    "EndpointSubset",
    "Endpoints",
    "EnvFromSource",
    "EnvVar",
    "Event",
    "HTTPGetAction",
    "Lifecycle",
    "Namespace",
    "Node",
    "ObjectReference",
    "Pod",
    "PodSpec",
    "PodStatus",
    "Probe",
    "Secret",
    "Service",
    "ServiceAccount",
    "ServicePort",
    "ServiceSpec",
]


class ContainerPort(Model):
    """A port that a container listens on."""

    name: str = ""
    container_port: int = 0
    protocol: str = ""


class EnvVar(Model):
    """One variable: a value with `$(NAME)` references, or a source as in the API (`fieldRef`, ...)."""

    name: str
    value: str = ""
    value_from: dict[str, Any] | None = None


class EnvFromSource(Model):
    """All keys of a ConfigMap or Secret as variables."""

    prefix: str = ""
    config_map_ref: dict[str, Any] | None = None
    secret_ref: dict[str, Any] | None = None


class HTTPGetAction(Model):
    """An HTTP probe or hook. `port` is a number or a container port's name."""

    path: str = ""
    port: int | str = 0
    host: str = ""
    scheme: str = ""
    http_headers: list[dict[str, str]] = []


class TCPSocketAction(Model):
    """A connect probe."""

    port: int | str = 0
    host: str = ""


class GRPCAction(Model):
    """A gRPC health probe."""

    port: int = 0
    service: str | None = None


class ExecAction(Model):
    """A command run in the container."""

    command: list[str] = []


class Probe(Model):
    """A container probe; exactly one handler is set. Times in seconds."""

    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    exec: ExecAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 0
    period_seconds: int = 0
    success_threshold: int = 0
    failure_threshold: int = 0


class LifecycleHandler(Model):
    """What runs at a lifecycle edge."""

    http_get: HTTPGetAction | None = None
    exec: ExecAction | None = None
    sleep: dict[str, int] | None = None


class Lifecycle(Model):
    """Hooks of a container."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class Container(Model):
    """One container as the node reads it."""

    name: str = ""
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    ports: list[ContainerPort] = []
    env: list[EnvVar] = []
    env_from: list[EnvFromSource] = []
    resources: dict[str, Any] = {}
    volume_mounts: list[dict[str, Any]] = []
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = ""
    termination_message_policy: str = ""
    security_context: dict[str, Any] | None = None
    restart_policy: str = ""


class PodSpec(Model):
    """A pod as the node reads it."""

    containers: list[Container] = []
    init_containers: list[Container] = []
    volumes: list[dict[str, Any]] = []
    restart_policy: str = "Always"
    termination_grace_period_seconds: int | None = None
    node_name: str = ""
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    host_network: bool = False
    security_context: dict[str, Any] | None = None
    hostname: str = ""


class ContainerStateWaiting(Model):
    """Not running yet, and why."""

    reason: str = ""
    message: str = ""


class ContainerStateRunning(Model):
    """Running since."""

    started_at: str | None = None


class ContainerStateTerminated(Model):
    """Ended, how and when."""

    exit_code: int = field(default=-1)
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str = field(default="", name="containerID")


class ContainerState(Model):
    """Exactly one is set."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(Model, omit_defaults=False):
    """One container's state as the kubelet reports it; `ready` and `restartCount` are always written."""

    name: str = ""
    state: ContainerState = field(default_factory=ContainerState)
    last_state: ContainerState = field(default_factory=ContainerState)
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = field(default="", name="imageID")
    container_id: str = field(default="", name="containerID")
    started: bool | None = None


class PodStatus(Model):
    """A pod's observed state."""

    phase: str = ""
    conditions: list[Condition] = []
    message: str = ""
    reason: str = ""
    host_ip: str = field(default="", name="hostIP")
    pod_ip: str = field(default="", name="podIP")
    pod_ips: list[dict[str, str]] = field(default=[], name="podIPs")
    start_time: str | None = None
    container_statuses: list[ContainerStatus] = []
    init_container_statuses: list[ContainerStatus] = []


class Pod(Resource):
    """Containers that live and die together on one node, with one address."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "pods", "Pod")
    spec: PodSpec = field(default_factory=PodSpec)
    status: PodStatus = field(default_factory=PodStatus)

    def is_ready(self) -> bool:
        """Running, not being deleted, and its Ready condition is True."""
        return (
            self.status.phase == "Running"
            and self.metadata.deletion_timestamp is None
            and any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)
        )


class ServicePort(Model):
    """One port of a Service; `target_port` is a number or a container port's name."""

    name: str = ""
    port: int = 0
    target_port: int | str | None = None
    protocol: str = "TCP"
    app_protocol: str | None = None
    node_port: int = 0


class ServiceSpec(Model):
    """Where a Service leads."""

    type: str = ""
    selector: dict[str, str] = {}
    ports: list[ServicePort] = []
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: list[str] = field(default=[], name="clusterIPs")
    external_name: str = ""
    session_affinity: str = ""
    publish_not_ready_addresses: bool = False


class Service(Resource):
    """A name and a virtual address for a set of endpoints."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "services", "Service")
    spec: ServiceSpec = field(default_factory=ServiceSpec)
    status: dict[str, Any] = {}


class ObjectReference(Model):
    """A pointer to an object."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class EndpointAddress(Model):
    """One address of an endpoint subset."""

    ip: str
    hostname: str = ""
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointPort(Model):
    """One port of an endpoint subset or slice."""

    name: str = ""
    port: int = 0
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSubset(Model):
    """Addresses that share ports."""

    addresses: list[EndpointAddress] = []
    not_ready_addresses: list[EndpointAddress] = []
    ports: list[EndpointPort] = []


class Endpoints(Resource):
    """The addresses behind the Service of the same name."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "endpoints", "Endpoints")
    subsets: list[EndpointSubset] = []


class ConfigMap(Resource):
    """Configuration as text."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "configmaps", "ConfigMap")
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}


class Secret(Resource):
    """Configuration that must not be shown; values are base64."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "secrets", "Secret")
    type: str = ""
    data: dict[str, str] = {}


class Namespace(Resource):
    """A scope for names."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "namespaces", "Namespace", namespaced=False)
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


class ServiceAccount(Resource):
    """An identity for programs."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "serviceaccounts", "ServiceAccount")
    image_pull_secrets: list[dict[str, str]] = []


class Node(Resource):
    """A machine that runs pods."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "nodes", "Node", namespaced=False)
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


class Event(Resource):
    """Something happened to an object; for people."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "events", "Event")
    involved_object: ObjectReference = field(default_factory=ObjectReference)
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 0
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    source: dict[str, str] = {}
    reporting_component: str = ""
    reporting_instance: str = ""
