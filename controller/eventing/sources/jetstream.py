"""JetStreamSource: an adapter of its own, which sends the messages of a stream of NATS.

No counterpart among the originals; conditions and environment are those of Knative's sources.
"""

import json
from typing import Final

from controller.collection import Reconciler
from controller.eventing.children import NotOwned
from controller.eventing.cluster import EventingCluster
from controller.eventing.identities import provide_identity
from controller.eventing.sources.adapters import AdapterKind, adapter_deployment, mark_deployed, resolve_sink
from controller.eventing.sources.collections import SourceCollections
from controller.eventing.sources.workloads import provide_deployment
from kube.conditions import Conditions, ConditionSet
from kube.models.sources import JetStreamSource, SourceStatus

__all__ = ["IMAGE", "JetStreamSourceReconciler"]

CONDITIONS: Final = ConditionSet(("SinkProvided", "Deployed", "OIDCIdentityCreated"))
IMAGE: Final = "dev.local/knuv/jetstream-source"
_ABOUT: Final = AdapterKind(
    component="jetstreamsource",
    controller="jetstream-source-controller",
    name_label="sources.knuv.dev/jetStreamSource",
    role="jetstream",
)
_NOT_OWNED_S: Final = 30.0


class JetStreamSourceReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster, sources: SourceCollections, *, image: str = IMAGE) -> None:
        """`image` is the adapter's."""
        self._cluster = cluster
        self._sources = sources
        self._image = image

    def reconciler(self) -> Reconciler[JetStreamSource]:
        """The envelope for this kind."""
        return Reconciler(self._sources.jetstream_sources, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, source: JetStreamSource, status: SourceStatus, conditions: Conditions) -> float | None:
        """One pass."""
        again_s = await resolve_sink(self._cluster, source.spec.sink, source.namespace, status, conditions)
        if not conditions.is_true("SinkProvided"):
            return again_s
        status.auth = await provide_identity(self._cluster, source, status.auth, conditions)
        wanted = adapter_deployment(
            self._cluster, source, status, about=_ABOUT, image=self._image, config=_config_of(source)
        )
        try:
            deployment = await provide_deployment(self._sources.deployments, source, wanted)
        except NotOwned as error:
            conditions.mark_false("Deployed", "NotOwned", str(error))
            return _NOT_OWNED_S
        mark_deployed("Deployed", deployment, conditions)
        return again_s


def _config_of(source: JetStreamSource) -> str:
    spec = source.spec
    fields: dict[str, str | int] = {
        "stream": spec.stream,
        "subject": spec.subject,
        "consumer": spec.consumer,
        "deliverPolicy": spec.deliver_policy,
        "ackWait": spec.ack_wait,
        "maxAckPending": spec.max_ack_pending,
        "eventType": spec.event_type,
        "contentType": spec.content_type,
        "url": spec.url,
    }
    return json.dumps({name: value for name, value in fields.items() if value}, separators=(",", ":"), sort_keys=True)
