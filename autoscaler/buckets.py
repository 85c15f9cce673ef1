"""Names around the buckets into which the revisions are divided between replicas.

A bucket's name is also that of its Lease and of a Service that leads to whoever holds it. In a StatefulSet there are no
Leases: each replica owns the bucket of its ordinal, and a bucket's name is the address of that replica. Source:
knative/serving `pkg/autoscaler/bucket`, knative.dev/pkg `leaderelection`; spec autoscaler.md 8.3 and 8.5.
"""

import ipaddress
from dataclasses import dataclass

__all__ = ["StatefulSet", "holder_identity", "holder_ip"]


def holder_identity(pod_name: str, pod_ip: str) -> str:
    """How a replica signs its Leases."""
    return f"{pod_name}_{pod_ip}"


def holder_ip(identity: str) -> str:
    """The pod's address in the identity of a Lease's holder; empty when it is none of ours, or no address."""
    text = identity.partition("_")[2]
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return ""
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class StatefulSet:
    """Our place in a StatefulSet."""

    name: str
    ordinal: int
    service: str
    """The headless Service that names the replicas."""
    port: int = 80
    protocol: str = "http"
    """As it stands in the buckets' names; stats are sent over WebSocket in any case."""

    def host(self, ordinal: int, namespace: str, cluster_domain: str) -> str:
        """The DNS name of a replica."""
        return f"{self.name}-{ordinal}.{self.service}.{namespace}.svc.{cluster_domain}"

    def buckets(self, count: int, namespace: str, cluster_domain: str) -> list[str]:
        """The names of all buckets, by ordinal."""
        hosts = (self.host(ordinal, namespace, cluster_domain) for ordinal in range(count))
        return [f"{self.protocol}://{host}:{self.port}" for host in hosts]
