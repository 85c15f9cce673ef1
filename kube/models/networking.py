"""networking.internal.knative.dev/v1alpha1: ServerlessService, Ingress, Certificate, ClusterDomainClaim.

Source: spec autoscaler.md 10, ingress.md 2, control-plane.md 4.7.
"""

from typing import ClassVar

from msgspec import field

from kube.models.core import ObjectReference
from kube.models.meta import Condition, Model, Resource, ResourceInfo

__all__ = [
    "Certificate",
    "CertificateSpec",
    "CertificateStatus",
    "ClusterDomainClaim",
    "ClusterDomainClaimSpec",
    "Http01Challenge",
    "Ingress",
    "IngressBackendSplit",
    "IngressHTTP",
    "IngressPath",
    "IngressRule",
    "IngressSpec",
    "IngressStatus",
    "IngressTLS",
    "LoadBalancer",
    "LoadBalancerIngress",
    "ServerlessService",
    "ServerlessServiceSpec",
    "ServerlessServiceStatus",
]

GROUP = "networking.internal.knative.dev"


class ServerlessServiceSpec(Model, omit_defaults=False):
    """`mode` is `Serve` (pods behind the public Service) or `Proxy` (activators); `num_activators` 0 means all."""

    mode: str = ""
    object_ref: ObjectReference = field(default_factory=ObjectReference)
    protocol_type: str = ""
    num_activators: int = 0


class ServerlessServiceStatus(Model):
    """The two Services of a revision."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    annotations: dict[str, str] = {}
    service_name: str = ""
    private_service_name: str = ""


class ServerlessService(Resource):
    """Decides what stands behind a revision's public Service; same name as the Revision."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1alpha1", "serverlessservices", "ServerlessService")
    spec: ServerlessServiceSpec = field(default_factory=ServerlessServiceSpec)
    status: ServerlessServiceStatus = field(default_factory=ServerlessServiceStatus)


class IngressBackendSplit(Model):
    """A share of a path's traffic. `append_headers` are set, not appended, whatever their name says."""

    service_namespace: str = ""
    service_name: str = ""
    service_port: int | str = 0
    percent: int = 0
    append_headers: dict[str, str] = {}


class IngressPath(Model):
    """A prefix (empty: all) with exact header matches (`{name: {exact: value}}`)."""

    path: str = ""
    rewrite_host: str = ""
    headers: dict[str, dict[str, str]] = {}
    splits: list[IngressBackendSplit] = []
    append_headers: dict[str, str] = {}


class IngressHTTP(Model):
    """The paths of a rule."""

    paths: list[IngressPath] = []


class IngressRule(Model):
    """Hosts and what happens to their requests. `visibility` is `ExternalIP` or `ClusterLocal`."""

    hosts: list[str] = []
    visibility: str = ""
    http: IngressHTTP | None = None


class IngressTLS(Model):
    """A certificate for hosts."""

    hosts: list[str] = []
    secret_name: str = ""
    secret_namespace: str = ""


class IngressSpec(Model):
    """`http_option` is empty, `Enabled` or `Redirected`. Field order is Go's: the version hash depends on it."""

    tls: list[IngressTLS] = []
    rules: list[IngressRule] = []
    http_option: str = field(default="", name="httpOption")


class LoadBalancerIngress(Model):
    """One way to reach the gateway."""

    ip: str = ""
    domain: str = ""
    domain_internal: str = ""
    mesh_only: bool = False


class LoadBalancer(Model):
    """The ways to reach the gateway."""

    ingress: list[LoadBalancerIngress] = []


class IngressStatus(Model):
    """Whether the gateway serves it, and where."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    annotations: dict[str, str] = {}
    public_load_balancer: LoadBalancer | None = None
    private_load_balancer: LoadBalancer | None = None


class Ingress(Resource):
    """KIngress: hosts to Services, with shares and headers."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1alpha1", "ingresses", "Ingress")
    spec: IngressSpec = field(default_factory=IngressSpec)
    status: IngressStatus = field(default_factory=IngressStatus)


class CertificateSpec(Model):
    """A certificate that is wanted for `dns_names`, and the Secret that it is put into."""

    dns_names: list[str] = []
    domain: str = ""
    secret_name: str = ""


class Http01Challenge(Model):
    """Who answers the authority's question whether a name is ours, under `url`."""

    url: str = ""
    service_name: str = ""
    service_namespace: str = ""
    service_port: int | str = 0


class CertificateStatus(Model):
    """Whether there is a certificate, and what is to be served until then."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    not_after: str | None = None
    http01_challenges: list[Http01Challenge] = field(default_factory=list, name="http01Challenges")


class Certificate(Resource):
    """A wish for a certificate; whoever has the class of its annotation fulfils it."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1alpha1", "certificates", "Certificate")
    spec: CertificateSpec = field(default_factory=CertificateSpec)
    status: CertificateStatus = field(default_factory=CertificateStatus)


class ClusterDomainClaimSpec(Model):
    """The namespace that may map the domain."""

    namespace: str = ""


class ClusterDomainClaim(Resource):
    """Which namespace may map a domain; its name is the domain."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1alpha1", "clusterdomainclaims", "ClusterDomainClaim", namespaced=False)
    spec: ClusterDomainClaimSpec = field(default_factory=ClusterDomainClaimSpec)
