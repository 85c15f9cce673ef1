"""PingSource: fired by one adapter for all, which is started with the first of them.

Source: knative/eventing `pkg/reconciler/pingsource`; spec eventing-sources.md 2.4.
"""

from typing import Any, Final

from controller.collection import Reconciler
from controller.eventing.cluster import EventingCluster
from controller.eventing.identities import provide_identity
from controller.eventing.sources.adapters import mark_deployed, resolve_sink
from controller.eventing.sources.collections import SourceCollections
from kube.conditions import Conditions, ConditionSet
from kube.models.sources import CloudEventAttributes, PingSource, SourceStatus

__all__ = ["ADAPTER", "PingSourceReconciler"]

JsonObject = dict[str, Any]

CONDITIONS: Final = ConditionSet(("SinkProvided", "Deployed", "OIDCIdentityCreated"))
ADAPTER: Final = "pingsource-mt-adapter"
_TYPE: Final = "dev.knative.sources.ping"


class PingSourceReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster, sources: SourceCollections) -> None:
        self._cluster = cluster
        self._sources = sources

    def reconciler(self) -> Reconciler[PingSource]:
        """The envelope for this kind."""
        return Reconciler(self._sources.ping_sources, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, source: PingSource, status: SourceStatus, conditions: Conditions) -> float | None:
        """One pass."""
        again_s = await resolve_sink(self._cluster, source.spec.sink, source.namespace, status, conditions)
        if not conditions.is_true("SinkProvided"):
            return again_s
        status.auth = await provide_identity(self._cluster, source, status.auth, conditions)
        deployments = self._cluster.deployments
        adapter = deployments.get(self._cluster.system_namespace, ADAPTER)
        if adapter is None:
            text = f'The Deployment "{ADAPTER}" does not exist in namespace "{self._cluster.system_namespace}".'
            conditions.mark_false("Deployed", "DeploymentMissing", text)
            return None
        if adapter.spec.replicas == 0:
            adapter = await deployments.patch(adapter, {"spec": {"replicas": 1}})
        mark_deployed("Deployed", adapter, conditions)
        where = f"/apis/v1/namespaces/{source.namespace}/pingsources/{source.name}"
        status.ce_attributes = [CloudEventAttributes(type=_TYPE, source=where)]
        return again_s
