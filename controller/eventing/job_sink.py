"""JobSink: an address at the process that makes Jobs of events, once that is there.

Source: knative/eventing `pkg/reconciler/jobsink`; spec eventing-sources.md 9.
"""

from typing import Final

from controller.collection import Reconciler
from controller.eventing import keys
from controller.eventing.addresses import apply_policies, has_addresses, tell_addresses
from controller.eventing.cluster import EventingCluster
from kube.conditions import Conditions, ConditionSet
from kube.models.sinks import NAME_LABEL, JobSink, JobSinkJobStatus, JobSinkStatus

__all__ = ["JobSinkReconciler"]

CONDITIONS: Final = ConditionSet(("Addressable", "EventPoliciesReady"))
_TLS_SECRET: Final = "job-sink-server-tls"  # noqa: S105 - a name


class JobSinkReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[JobSink]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.job_sinks, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, sink: JobSink, status: JobSinkStatus, conditions: Conditions) -> float | None:
        """One pass."""
        cluster, place = self._cluster, f"{sink.namespace}/{sink.name}"
        host = cluster.host_of(keys.JOB_SINK)
        tell_addresses(
            status,
            http_url=f"http://{host}/{place}",
            https_url=f"https://{host}/{place}",
            ca_certs=cluster.ca_of(_TLS_SECRET),
            features=cluster.settings.features,
            audience=f"sinks.knative.dev/jobsink/{place}".lower(),
        )
        status.job = JobSinkJobStatus(selector=f"{NAME_LABEL}={sink.name}")
        if has_addresses(cluster.endpoints.get(cluster.system_namespace, keys.JOB_SINK)):
            conditions.mark_true("Addressable")
        else:
            text = f'Endpoints "{keys.JOB_SINK}" are unavailable.'
            conditions.mark_false("Addressable", "EndpointsUnavailable", text)
        apply_policies(cluster, sink, status, conditions)
        return None
