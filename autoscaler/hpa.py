"""PodAutoscaler of class hpa -> HorizontalPodAutoscaler, ServerlessService, status. The cluster itself scales.

Revisions of this class are scaled by cpu, memory or any metric of their pods, and never to zero; so activators are not
put before them. Their HorizontalPodAutoscalers are followed from the first such revision on: a cluster without any
pays nothing, and needs no permission for them. Source: knative/serving `pkg/reconciler/autoscaling/hpa`; spec
autoscaler.md 11.
"""

import asyncio
import math
from collections.abc import Callable

from autoscaler.cluster_settings import ClusterSettings
from autoscaler.envelope import Envelope, NotCreated, NotOwned
from autoscaler.multiscaler import RevisionKey
from autoscaler.owned import SERVE, OwnedObjects, child_metadata, is_service_ready
from autoscaler.settings import RevisionSettings, autoscaler_class, resolve
from kube.autoscaling import annotations as keys
from kube.autoscaling.annotations import Annotations
from kube.autoscaling.config import HPA_CLASS
from kube.client import Client
from kube.conditions import Conditions
from kube.errors import AlreadyExists, ApiError
from kube.informer import Informer
from kube.models.autoscaling import PodAutoscaler, PodAutoscalerStatus
from kube.models.horizontal_autoscaling import (
    CrossVersionObjectReference,
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec,
    MetricIdentifier,
    MetricSource,
    MetricTarget,
    PodsMetricSource,
    ResourceMetricSource,
    ScalingRules,
)

__all__ = ["HpaReconciler", "horizontal_spec"]

_KIND = "HorizontalPodAutoscaler"
_UNBOUNDED = (1 << 31) - 1
_ALL_ACTIVATORS = 0
_INT64_MAX = (1 << 63) - 1
_MEBI = 1 << 20
_DECIMAL = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_CPU_DEFAULT = 80
"""Percent that the API server fills in where no metric is named."""


class HpaReconciler:
    """Reconciles one PodAutoscaler at a time per key. `on_following()` is to wake those that could not be reconciled
    before the HorizontalPodAutoscalers were known."""

    def __init__(
        self,
        client: Client,
        *,
        on_following: Callable[[], None],
        autoscalers: Informer[PodAutoscaler],
        horizontal: Informer[HorizontalPodAutoscaler],
        owned: OwnedObjects,
        envelope: Envelope,
        settings: ClusterSettings,
    ) -> None:
        self._client = client
        self._on_following = on_following
        self._autoscalers = autoscalers
        self._horizontal = horizontal
        self._owned = owned
        self._envelope = envelope
        self._settings = settings
        self._following: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self._horizontal.stop()

    def concerns(self, key: RevisionKey) -> bool:
        """Whether there is such a PodAutoscaler of class hpa."""
        autoscaler = self._autoscalers.get(*key)
        return autoscaler is not None and self._is_ours(autoscaler)

    async def reconcile(self, key: RevisionKey) -> None:
        """Bring one PodAutoscaler's surroundings up to date; one of another class is left alone."""
        autoscaler = self._autoscalers.get(*key)
        if autoscaler is None or not self._is_ours(autoscaler) or not self._is_following():
            return

        async def steps(status: PodAutoscalerStatus, conditions: Conditions) -> None:
            await self._steps(autoscaler, status, conditions)

        await self._envelope.run(autoscaler, steps)

    def _is_ours(self, autoscaler: PodAutoscaler) -> bool:
        annotations = autoscaler.metadata.annotations
        is_going = autoscaler.metadata.deletion_timestamp is not None
        return not is_going and autoscaler_class(annotations, self._settings.autoscaler) == HPA_CLASS

    def _is_following(self) -> bool:
        """Whether the HorizontalPodAutoscalers are known; `on_following` is called once they are.

        Where nobody may read them that never happens, and no worker must wait for it.
        """
        if self._following is None:
            loop = asyncio.get_running_loop()
            self._following = loop.create_task(self._follow(), name="follow HorizontalPodAutoscalers")
        return self._following.done()

    async def _follow(self) -> None:
        await self._horizontal.start()
        asyncio.get_running_loop().call_soon(self._on_following)

    async def _steps(self, autoscaler: PodAutoscaler, status: PodAutoscalerStatus, conditions: Conditions) -> None:
        settings = resolve(
            autoscaler.metadata.annotations,
            container_concurrency=autoscaler.spec.container_concurrency,
            reachability=autoscaler.spec.reachability,
            metrics_service="",
            config=self._settings.autoscaler,
        )
        horizontal = await self._owned_horizontal(autoscaler, horizontal_spec(autoscaler, settings))
        service, _ = await self._owned.serverless_service(autoscaler, SERVE, _ALL_ACTIVATORS)
        status.service_name = service.status.service_name
        if is_service_ready(service):
            conditions.mark_true("SKSReady")
            if horizontal.status.current_replicas >= max(settings.min_scale, settings.initial_scale):
                conditions.mark_true("ScaleTargetInitialized")
        else:
            conditions.mark_unknown("SKSReady", "NotReady", "SKS Services are not ready yet")
        conditions.mark_true("Active")
        status.desired_scale = horizontal.status.desired_replicas
        status.actual_scale = horizontal.status.current_replicas

    async def _owned_horizontal(
        self, autoscaler: PodAutoscaler, spec: HorizontalPodAutoscalerSpec
    ) -> HorizontalPodAutoscaler:
        horizontal = self._horizontal.get(autoscaler.namespace, autoscaler.name)
        if horizontal is None:
            horizontal = await self._create(autoscaler, spec)
            self._horizontal.apply_local(horizontal)
        if not horizontal.is_controlled_by(autoscaler):
            raise NotOwned(_KIND, autoscaler.name)
        if _as_stored(horizontal.spec) != _as_stored(spec):
            patch = [{"op": "add", "path": "/spec", "value": spec}]
            horizontal = await self._client.patch(
                HorizontalPodAutoscaler, autoscaler.name, autoscaler.namespace, patch, type="json"
            )
            self._horizontal.apply_local(horizontal)
        return horizontal

    async def _create(self, owner: PodAutoscaler, spec: HorizontalPodAutoscalerSpec) -> HorizontalPodAutoscaler:
        wanted = HorizontalPodAutoscaler(metadata=child_metadata(owner), spec=spec)
        try:
            return await self._client.create(wanted)
        except AlreadyExists:
            return await self._client.get(HorizontalPodAutoscaler, owner.name, owner.namespace)
        except ApiError as error:
            raise NotCreated(_KIND, owner.name, error) from error


def horizontal_spec(autoscaler: PodAutoscaler, settings: RevisionSettings) -> HorizontalPodAutoscalerSpec:
    """What the HorizontalPodAutoscaler of a PodAutoscaler holds."""
    own = Annotations(autoscaler.metadata.annotations)
    target = autoscaler.spec.scale_target_ref
    spec = HorizontalPodAutoscalerSpec(
        scale_target_ref=CrossVersionObjectReference(
            api_version=target.api_version, kind=target.kind, name=target.name
        ),
        min_replicas=settings.min_scale if settings.min_scale > 0 else None,
        max_replicas=settings.max_scale or _UNBOUNDED,
    )
    wanted = own.number(keys.TARGET)
    if wanted is not None:
        spec.metrics = [_metric(settings.decider.scaling_metric, wanted)]
    window_s = own.duration_s(keys.WINDOW)
    if window_s is not None:
        rules = ScalingRules(stabilization_window_seconds=int(window_s))
        spec.behavior = HorizontalPodAutoscalerBehavior(scale_up=rules, scale_down=rules)
    return spec


def _metric(name: str, target: float) -> MetricSource:
    if name == "cpu":
        utilization = MetricTarget(type="Utilization", average_utilization=math.ceil(min(target, _UNBOUNDED)))
        return MetricSource(type="Resource", resource=ResourceMetricSource(name=name, target=utilization))
    whole = math.trunc(min(target, _INT64_MAX))
    if name == "memory":
        value = _quantity(min(whole * _MEBI, _INT64_MAX), 1 << 10, _BINARY)
        average = MetricTarget(type="AverageValue", average_value=value)
        return MetricSource(type="Resource", resource=ResourceMetricSource(name=name, target=average))
    average = MetricTarget(type="AverageValue", average_value=_quantity(whole, 1000, _DECIMAL))
    return MetricSource(type="Pods", pods=PodsMetricSource(metric=MetricIdentifier(name=name), target=average))


def _quantity(value: int, step: int, suffixes: tuple[str, ...]) -> str:
    """A quantity as the API server would write it: the largest suffix that leaves a whole number."""
    power = 0
    while value and value % step == 0 and power < len(suffixes) - 1:
        value //= step
        power += 1
    return f"{value}{suffixes[power]}"


def _as_stored(spec: HorizontalPodAutoscalerSpec) -> tuple[object, ...]:
    """What can be compared: with the defaults that the API server fills in."""
    utilization = MetricTarget(type="Utilization", average_utilization=_CPU_DEFAULT)
    default = MetricSource(type="Resource", resource=ResourceMetricSource(name="cpu", target=utilization))
    return (
        spec.scale_target_ref,
        1 if spec.min_replicas is None else spec.min_replicas,
        spec.max_replicas,
        spec.metrics or [default],
        spec.behavior,
    )
