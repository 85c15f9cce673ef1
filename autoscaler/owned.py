"""What PodAutoscalers own: their Metric (class kpa) and ServerlessService. What these hold, and keeping them so.

Source: knative/serving `pkg/reconciler/autoscaling/resources`, `pkg/reconciler/metric`; spec autoscaler.md 4.1, 4.2,
10.1.
"""

from autoscaler.collector import MetricSpec as CollectedMetric
from autoscaler.envelope import NotOwned
from autoscaler.scraper import NoEndpoints, NoStatReceived, ScrapeError
from kube.autoscaling import annotations as keys
from kube.client import Client
from kube.conditions import ConditionSet
from kube.errors import AlreadyExists
from kube.informer import Informer
from kube.models.autoscaling import Metric, MetricSpec, MetricStatus, PodAutoscaler
from kube.models.meta import ObjectMeta
from kube.models.networking import ServerlessService, ServerlessServiceSpec

__all__ = ["PROXY", "SERVE", "OwnedObjects", "child_metadata", "is_service_ready"]

PROXY = "Proxy"
SERVE = "Serve"

_METRIC_CONDITIONS = ConditionSet()


class OwnedObjects:
    """Keeps both as they should be. Raises `NotOwned` and the client's errors."""

    def __init__(self, client: Client, metrics: Informer[Metric], services: Informer[ServerlessService]) -> None:
        self._client = client
        self._metrics = metrics
        self._services = services

    async def metric(self, owner: PodAutoscaler, collected: CollectedMetric) -> Metric:
        """The Metric that says how the owner's load is collected."""
        spec = MetricSpec(
            stable_window=round(collected.stable_window_s * 1e9),
            panic_window=round(collected.panic_window_s * 1e9),
            scrape_target=collected.scrape_target,
        )
        metric = self._metrics.get(owner.namespace, owner.name)
        if metric is None:
            wanted = Metric(metadata=child_metadata(owner), spec=spec)
            try:
                metric = await self._client.create(wanted)
            except AlreadyExists:
                metric = await self._client.get(Metric, owner.name, owner.namespace)
            self._metrics.apply_local(metric)
        if not metric.is_controlled_by(owner):
            raise NotOwned("Metric", owner.name)
        if metric.spec != spec:
            metric = await self._client.patch(
                Metric, owner.name, owner.namespace, [{"op": "add", "path": "/spec", "value": spec}], type="json"
            )
            self._metrics.apply_local(metric)
        return metric

    async def metric_status(self, metric: Metric, error: ScrapeError | None, now_s: float) -> None:
        """Say in the Metric's status whether collecting works."""
        conditions = _METRIC_CONDITIONS.manage(metric.status.conditions, now_s)
        if error is None:
            conditions.mark_true("Ready")
        elif isinstance(error, NoEndpoints):
            conditions.mark_unknown("Ready", "NoEndpoints", str(error))
        elif isinstance(error, NoStatReceived):
            conditions.mark_false("Ready", "DidNotReceiveStat", str(error))
        else:
            message = f"Failed to reconcile metric collection: {error}"
            conditions.mark_false("Ready", "CollectionFailed", message)
        status = MetricStatus(observed_generation=metric.metadata.generation, conditions=conditions.listed())
        if status != metric.status:
            self._metrics.apply_local(await self._client.patch_status(metric, status))

    async def serverless_service(
        self, owner: PodAutoscaler, mode: str, activator_count: int
    ) -> tuple[ServerlessService, str]:
        """The ServerlessService in `mode`, and the mode that it was in before (empty when it is new)."""
        spec = ServerlessServiceSpec(
            mode=mode,
            object_ref=owner.spec.scale_target_ref,
            protocol_type=owner.spec.protocol_type,
            num_activators=activator_count,
        )
        before = ""
        service = self._services.get(owner.namespace, owner.name)
        if service is None:
            wanted = ServerlessService(metadata=child_metadata(owner, without_annotations=keys.METRIC), spec=spec)
            try:
                service = await self._client.create(wanted)
            except AlreadyExists:
                service = await self._client.get(ServerlessService, owner.name, owner.namespace)
            self._services.apply_local(service)
        else:
            before = service.spec.mode
        if not service.is_controlled_by(owner):
            raise NotOwned("ServerlessService", owner.name)
        if service.spec != spec:
            patch = [{"op": "add", "path": "/spec", "value": spec}]
            service = await self._client.patch(ServerlessService, owner.name, owner.namespace, patch, type="json")
            self._services.apply_local(service)
        return service, before


def is_service_ready(service: ServerlessService) -> bool:
    """Whether the service says that it is ready, about its present spec."""
    is_current = service.status.observed_generation == service.metadata.generation
    return is_current and any(c.type == "Ready" and c.status == "True" for c in service.status.conditions)


def child_metadata(owner: PodAutoscaler, *, without_annotations: tuple[str, ...] = ()) -> ObjectMeta:
    """Metadata of an object that belongs to a PodAutoscaler: its name, labels and annotations."""
    annotations = owner.metadata.annotations
    return ObjectMeta(
        name=owner.name,
        namespace=owner.namespace,
        labels=dict(owner.metadata.labels),
        annotations={key: text for key, text in annotations.items() if key not in without_annotations},
        owner_references=[owner.owner_reference()],
    )
