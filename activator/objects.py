"""What the activator reads of Kubernetes' objects: views, which hold that and nothing else of each object.

Thousands are held for as long as the process runs, so what nobody reads is not decoded: the rest of a Revision's pod
spec, what stands beside an address, ports that requests do not go to, annotations of others.
"""

import sys
from typing import ClassVar, Final

from msgspec import Struct, field
from msgspec.structs import force_setattr

from kube.models.meta import ResourceInfo

__all__ = [
    "Address",
    "Container",
    "Endpoints",
    "Labels",
    "Metadata",
    "Port",
    "Probe",
    "Revision",
    "RevisionSpec",
    "Service",
    "ServiceSpec",
    "Subset",
]

_ANNOTATIONS: Final = "serving.knuv.dev/"
_PORT_NAMES: Final = ("http", "http2")
"""Of the ports that requests go to; to which one, the Revision says."""


class _Part(Struct, rename="camel", kw_only=True, frozen=True, gc=False):
    """Of a view. Nothing leads back to what it is a part of, so the garbage collector need not look at it."""


class Labels(_Part, frozen=True):
    """Whose the object is."""

    revision: str = field(default="", name="serving.knative.dev/revision")
    service: str = field(default="", name="serving.knative.dev/service")
    configuration: str = field(default="", name="serving.knative.dev/configuration")


class Metadata(_Part, frozen=True):
    """Which object, and which version of it."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Labels = Labels()
    annotations: dict[str, str] | None = None
    """Ours only; None: there are none."""

    def __post_init__(self) -> None:
        # A few namespaces for thousands of objects.
        force_setattr(self, "namespace", sys.intern(self.namespace))
        if self.annotations is not None:
            ours = {name: value for name, value in self.annotations.items() if name.startswith(_ANNOTATIONS)}
            force_setattr(self, "annotations", ours or None)


class _View(_Part, frozen=True):
    """Of one object."""

    metadata: Metadata = Metadata()

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.metadata.namespace, self.metadata.name


class Port(_Part, frozen=True):
    """A port that has a name; of a container's only that matters."""

    name: str = ""
    port: int = 0


class Address(_Part, frozen=True):
    """Of a pod or an activator."""

    ip: str


class Subset(_Part, frozen=True):
    """Addresses that share ports; of these only such as requests may go to."""

    addresses: tuple[Address, ...] = ()
    not_ready_addresses: tuple[Address, ...] = ()
    ports: tuple[Port, ...] = ()

    def __post_init__(self) -> None:
        force_setattr(self, "ports", tuple(port for port in self.ports if port.name in _PORT_NAMES))


class Endpoints(_View, frozen=True):
    """The addresses behind the Service of the same name."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "endpoints", "Endpoints")
    subsets: tuple[Subset, ...] = ()


class ServiceSpec(_Part, frozen=True):
    """Where a Service is."""

    cluster_ip: str = field(default="", name="clusterIP")
    ports: tuple[Port, ...] = ()


class Service(_View, frozen=True):
    """One address for all pods behind it."""

    RESOURCE: ClassVar = ResourceInfo("", "v1", "services", "Service")
    spec: ServiceSpec = ServiceSpec()


class Exec(_Part, frozen=True):
    """That a probe runs a program; not which."""


class Probe(_Part, frozen=True):
    """How a container is asked whether it is ready, or up."""

    exec: Exec | None = None


class Container(_Part, frozen=True):
    """Who asks a container what, and on which ports."""

    ports: tuple[Port, ...] = ()
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None


class RevisionSpec(_Part, frozen=True):
    """How a revision's pods take requests. Times in seconds; 0: no such limit, or for the first the default."""

    container_concurrency: int = 0
    """Requests at once per pod; 0 is unlimited."""
    timeout_s: int = field(default=0, name="timeoutSeconds")
    response_start_timeout_s: int = field(default=0, name="responseStartTimeoutSeconds")
    idle_timeout_s: int = field(default=0, name="idleTimeoutSeconds")
    containers: tuple[Container, ...] = ()


class Revision(_View, frozen=True):
    """What requests name."""

    RESOURCE: ClassVar = ResourceInfo("serving.knative.dev", "v1", "revisions", "Revision")
    spec: RevisionSpec = RevisionSpec()
