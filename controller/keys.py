"""Labels and annotations that the control plane reads and writes, and how they travel from object to object.

Source: spec control-plane.md 3; knative/serving `pkg/apis/serving/register.go`.
"""

from collections.abc import Container, Mapping

__all__ = ["first_present", "joined", "listed", "without"]

SERVING = "serving.knative.dev"
SERVICE = f"{SERVING}/service"
SERVICE_UID = f"{SERVING}/serviceUID"
CONFIGURATION = f"{SERVING}/configuration"
CONFIGURATION_UID = f"{SERVING}/configurationUID"
CONFIGURATION_GENERATION = f"{SERVING}/configurationGeneration"
REVISION = f"{SERVING}/revision"
REVISION_UID = f"{SERVING}/revisionUID"
ROUTE = f"{SERVING}/route"
ROUTE_NAMESPACE = f"{SERVING}/routeNamespace"
ROUTING_STATE = f"{SERVING}/routingState"
DEPLOYMENT_HASH = f"{SERVING}/deployment-hash"

DOMAIN_MAPPING_UID = f"{SERVING}/domainMappingUID"
DOMAIN_MAPPING_NAMESPACE = f"{SERVING}/domainMappingNamespace"

ROUTES = f"{SERVING}/routes"
ROUTING_STATE_MODIFIED = f"{SERVING}/routingStateModified"
ROLLOUT_DURATION = (f"{SERVING}/rollout-duration", f"{SERVING}/rolloutDuration")
PROGRESS_DEADLINE = f"{SERVING}/progress-deadline"
NO_GC = f"{SERVING}/no-gc"
LAST_PINNED = f"{SERVING}/lastPinned"
CREATOR = f"{SERVING}/creator"
LAST_MODIFIER = f"{SERVING}/lastModifier"

QUEUE_SIDECAR = "queue.sidecar.serving.knative.dev"
RESOURCE_PERCENTAGE = (f"{QUEUE_SIDECAR}/resource-percentage", f"{QUEUE_SIDECAR}/resourcePercentage")
POD_INFO_FEATURE = "features.knative.dev/queueproxy-podinfo"
FULL_DUPLEX_FEATURE = "features.knative.dev/http-full-duplex"

NETWORKING = "networking.knative.dev"
INGRESS_CLASS = (f"{NETWORKING}/ingress.class", f"{NETWORKING}/ingress-class")
CERTIFICATE_CLASS = (f"{NETWORKING}/certificate.class", f"{NETWORKING}/certificate-class")
DISABLE_TLS = (
    f"{NETWORKING}/disableAutoTLS",
    f"{NETWORKING}/disable-auto-tls",
    f"{NETWORKING}/disable-external-domain-tls",
)
HTTP_OPTION = (f"{NETWORKING}/httpOption", f"{NETWORKING}/http-protocol")
VISIBILITY = f"{NETWORKING}/visibility"
CLUSTER_LOCAL = "cluster-local"

TAG = f"{NETWORKING}/tag"
CERTIFICATE_TYPE = f"{NETWORKING}/certificate-type"
EXTERNAL_DOMAIN, CLUSTER_LOCAL_DOMAIN, SYSTEM_INTERNAL = "external-domain", "cluster-local-domain", "system-internal"
"""Types of certificates."""
WILDCARD_DOMAIN = f"{NETWORKING}/wildcardDomain"

NETWORKING_INTERNAL = "networking.internal.knative.dev"
ROLLOUT = f"{NETWORKING_INTERNAL}/rollout"
TAG_TO_HOST = f"{NETWORKING_INTERNAL}/tag-to-host"
INGRESS = f"{NETWORKING_INTERNAL}/ingress"
CERTIFICATE_UID = f"{NETWORKING_INTERNAL}/certificate-uid"
SERVERLESS_SERVICE = f"{NETWORKING_INTERNAL}/serverlessservice"
SERVICE_TYPE = f"{NETWORKING_INTERNAL}/serviceType"
INHERITED = "networking.knuv.dev/inherited"
"""Of an HTTPRoute: the names of the labels and annotations that it has from its Ingress, in JSON."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

NOT_FOR_CHILDREN = (LAST_PINNED, NO_GC, ROUTING_STATE_MODIFIED, ROUTES)
"""Annotations of a Revision that its PodAutoscaler and Deployment do not take over (spec 6.5, 6.6)."""

FROM_SYSTEM = frozenset((REVISION, REVISION_UID, ROUTING_STATE, ROUTES, ROUTING_STATE_MODIFIED, CREATOR, LAST_MODIFIER))
"""What is written on Revisions by the system alone, and taken out of templates."""

ACTIVE = "active"
RESERVE = "reserve"
PENDING = "pending"


def without(values: Mapping[str, str], keys: Container[str]) -> dict[str, str]:
    """A copy of `values` that leaves out `keys`."""
    return {key: value for key, value in values.items() if key not in keys}


def first_present(annotations: Mapping[str, str], keys: tuple[str, ...]) -> str | None:
    """The value under the first of `keys` that is present, even when it is unusable; None when none is (spec 2.3)."""
    return next((annotations[key] for key in keys if key in annotations), None)


def listed(text: str) -> set[str]:
    """The names in a comma-separated annotation."""
    return {name for name in text.split(",") if name}


def joined(names: set[str]) -> str:
    """The annotation that lists `names`: sorted, separated by commas."""
    return ",".join(sorted(names))
