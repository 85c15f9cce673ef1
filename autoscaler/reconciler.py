"""PodAutoscaler of class kpa -> replicas, ServerlessService mode, Metric, status.

`Reconciler.reconcile` reads top to bottom as the original's steps: settings -> decider -> scale -> proxy or serve ->
status. The scale comes before everything that merely reports, so that a cold start waits for one PATCH and nothing
else. Everything is read from informers; writes are patches. Source: knative/serving `pkg/reconciler/autoscaling/kpa`;
spec autoscaler.md 7.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from autoscaler.activator_probe import ActivatorProber, ProbeTarget
from autoscaler.activators import ACTIVATORS_MIN, activator_count
from autoscaler.activity import next_activity
from autoscaler.ages import Ages
from autoscaler.cluster_settings import ClusterSettings
from autoscaler.envelope import Envelope, StepFailed
from autoscaler.multiscaler import UNKNOWN_SCALE, MultiScaler, Revision, RevisionKey
from autoscaler.owned import PROXY, SERVE, OwnedObjects, is_service_ready
from autoscaler.plan_words import explain_plan
from autoscaler.pods import PodCounts
from autoscaler.revision_pods import RevisionPods
from autoscaler.scale import ActivatorProbe, Plan, Situation, clamp, plan_scale
from autoscaler.scraping import Scraping
from autoscaler.settings import RevisionSettings, autoscaler_class, resolve
from kube.autoscaling.config import KPA_CLASS
from kube.client import Client
from kube.conditions import Conditions
from kube.errors import ApiError, Conflict
from kube.informer import Informer
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler, PodAutoscalerStatus
from kube.models.networking import ServerlessService
from proxies.logs import Logger

__all__ = ["Reconciler", "ScaleNotApplied"]

_TARGET_MISSING_S = 1.0
_AFTER_BACKGROUND_PROBE_S = 1.0
_HTTP_PORT, _H2C_PORT = 80, 81


class ScaleNotApplied(StepFailed):
    """The API refused the new number of replicas."""

    def __init__(self, scale: int, target: str, error: ApiError) -> None:
        super().__init__(f"failed to apply scale {scale} to scale target {target}: {error}")


class Reconciler:
    """Reconciles one PodAutoscaler at a time per key. `again_after(key, s)` schedules a key from outside a
    reconcile. `is_strict`: bounds may shrink what was never decided about, as in the original."""

    def __init__(
        self,
        client: Client,
        *,
        autoscalers: Informer[PodAutoscaler],
        services: Informer[ServerlessService],
        deployments: Informer[Deployment],
        owned: OwnedObjects,
        envelope: Envelope,
        pods: RevisionPods,
        scalers: MultiScaler,
        scraping: Scraping,
        settings: ClusterSettings,
        prober: ActivatorProber,
        cluster_domain: str,
        is_strict: bool,
        clock: Callable[[], float],
        phase: Callable[[], int],
        again_after: Callable[[RevisionKey, float], None],
        log: Logger,
    ) -> None:
        self._client = client
        self._autoscalers = autoscalers
        self._services = services
        self._deployments = deployments
        self._owned = owned
        self._envelope = envelope
        self._pods = pods
        self._scalers = scalers
        self._scraping = scraping
        self._settings = settings
        self._prober = prober
        self._cluster_domain = cluster_domain
        self._is_strict = is_strict
        self._clock = clock
        self._phase = phase
        self._again_after = again_after
        self._log = log
        self._applied: dict[RevisionKey, tuple[str, int]] = {}
        """Per revision the Deployment's version that was patched last, and to what."""
        self._planned: dict[RevisionKey, tuple[Situation, RevisionSettings, Plan]] = {}
        """Per revision the last plan, and what it rests on."""
        self._without_target: set[RevisionKey] = set()
        """Revisions whose Deployment is missing, which is said once."""
        self._ages = Ages()

    async def reconcile(self, key: RevisionKey) -> float | None:
        """Bring one PodAutoscaler's surroundings up to date; seconds after which to look again, or None."""
        autoscaler = self._autoscalers.get(*key)
        if autoscaler is None or autoscaler.metadata.deletion_timestamp or not self._is_ours(autoscaler):
            self.forget(key)
            return None

        async def steps(status: PodAutoscalerStatus, conditions: Conditions) -> float | None:
            return await self._steps(key, autoscaler, status, conditions)

        return await self._envelope.run(autoscaler, steps)

    def forget(self, key: RevisionKey) -> None:
        """Drop what is held about a revision, because it is gone or somebody else's; unknown keys are fine."""
        self._scalers.delete(key)
        self._scraping.forget(key)
        self._applied.pop(key, None)
        self._planned.pop(key, None)
        self._without_target.discard(key)
        self._ages.forget(key)

    def planned(self, key: RevisionKey) -> tuple[Plan, str] | None:
        """What became of the decider's wish for a revision, and why; None before its first plan."""
        known = self._planned.get(key)
        if known is None:
            return None
        situation, settings, plan = known
        return plan, explain_plan(situation, settings, plan, self._settings.progress_deadline_s)

    def _is_ours(self, autoscaler: PodAutoscaler) -> bool:
        return autoscaler_class(autoscaler.metadata.annotations, self._settings.autoscaler) == KPA_CLASS

    async def _steps(
        self, key: RevisionKey, autoscaler: PodAutoscaler, status: PodAutoscalerStatus, conditions: Conditions
    ) -> float | None:
        service = self._services.get(*key)
        if service is None or not service.status.private_service_name:
            await self._owned.serverless_service(autoscaler, PROXY, ACTIVATORS_MIN)
            conditions.mark_unknown("SKSReady", "NotReady", "No Private Service Name")
            settings = self._resolve(autoscaler, "")
            _report(status, conditions, settings, UNKNOWN_SCALE, PodCounts())
            return None
        status.metrics_service_name = service.status.private_service_name
        settings = self._resolve(autoscaler, service.status.private_service_name)
        revision = self._scalers.put(
            key, settings.decider, settings.metric, self._clock(), self._phase(), settings.metric_url
        )
        plan = await self._apply_scale(autoscaler, settings, revision, service, conditions)
        if plan is None:
            return _TARGET_MISSING_S
        metric = await self._owned.metric(autoscaler, settings.metric)
        await self._owned.metric_status(metric, self._scraping.error(key), time.time())
        pods = self._pods.counts(key)
        service = await self._route(autoscaler, settings, revision, plan.scale, pods, conditions)
        status.service_name = service.status.service_name
        _report_service(service, conditions)
        _report(status, conditions, settings, plan.scale, pods)
        return plan.again_after_s

    def _resolve(self, autoscaler: PodAutoscaler, metrics_service: str) -> RevisionSettings:
        return resolve(
            autoscaler.metadata.annotations,
            container_concurrency=autoscaler.spec.container_concurrency,
            reachability=autoscaler.spec.reachability,
            metrics_service=metrics_service,
            config=self._settings.autoscaler,
        )

    # Scale.

    async def _apply_scale(
        self,
        autoscaler: PodAutoscaler,
        settings: RevisionSettings,
        revision: Revision,
        service: ServerlessService,
        conditions: Conditions,
    ) -> Plan | None:
        """Apply the decider's wish as far as it may be; the plan, or None when there is nothing to scale yet."""
        situation = _situation(revision, conditions, service, self._ages)
        plan = plan_scale(situation, settings, self._settings.progress_deadline_s)
        if plan.needs_probe:
            target = self._probe_target(autoscaler)
            is_backed = target is not None and await self._prober.probe(target)
            answer = ActivatorProbe.ANSWERED if is_backed else ActivatorProbe.FAILED
            # Seen anew: a request may have come while the activator was asked, and the pods are wanted again.
            situation = replace(_situation(revision, conditions, service, self._ages), activator=answer)
            plan = plan_scale(situation, settings, self._settings.progress_deadline_s)
            if plan.needs_background_probe and target is not None:
                self._prober.watch(target, lambda: self._again_after(revision.key, _AFTER_BACKGROUND_PROBE_S))
        if plan.applies and revision.desired == UNKNOWN_SCALE and not self._is_strict:
            plan = self._unshrunk(autoscaler, settings, plan)
        self._planned[revision.key] = situation, settings, plan
        if plan.applies and not await self._set_replicas(autoscaler, revision, plan.scale):
            return None
        return plan

    def _unshrunk(self, autoscaler: PodAutoscaler, settings: RevisionSettings, plan: Plan) -> Plan:
        """The plan for a revision whose load is not known yet, as after a restart: bounds may raise its scale or limit
        it, and an activation may be given up, but a lower bound is no reason to take pods away."""
        deployment = self._deployments.get(autoscaler.namespace, autoscaler.spec.scale_target_ref.name)
        replicas = deployment.spec.replicas if deployment is not None else None
        if plan.scale == 0 or replicas is None:
            return plan
        return plan._replace(scale=max(plan.scale, clamp(replicas, 0, settings.max_scale)))

    def _probe_target(self, autoscaler: PodAutoscaler) -> ProbeTarget | None:
        if not autoscaler.status.service_name:
            return None
        host = f"{autoscaler.status.service_name}.{autoscaler.namespace}.svc.{self._cluster_domain}"
        return ProbeTarget(host, _H2C_PORT if autoscaler.spec.protocol_type == "h2c" else _HTTP_PORT)

    async def _set_replicas(self, autoscaler: PodAutoscaler, revision: Revision, scale: int) -> bool:
        """Make the Deployment's replicas `scale`; False when there is no Deployment."""
        name = autoscaler.spec.scale_target_ref.name
        deployment = self._deployments.get(autoscaler.namespace, name)
        if deployment is None:
            if revision.key not in self._without_target:
                self._without_target.add(revision.key)
                self._log.warning("scale_target_missing", namespace=autoscaler.namespace, deployment=name)
            return False
        self._without_target.discard(revision.key)
        version = deployment.metadata.resource_version
        before = 1 if deployment.spec.replicas is None else deployment.spec.replicas
        patched_version, patched = self._applied.get(revision.key, ("", 0))
        if patched_version == version:
            # The watch has not brought our own patch yet: what it said counts, not what we still read.
            before = patched
        if before == scale:
            return True
        try:
            await self._client.patch_scale(Deployment, name, autoscaler.namespace, scale)
        except Conflict:
            raise
        except ApiError as error:
            raise ScaleNotApplied(scale, name, error) from error
        self._applied[revision.key] = version, scale
        planned = self.planned(revision.key)
        self._log.info(
            "scale_applied",
            namespace=revision.key[0],
            revision=revision.key[1],
            **{"from": before, "to": scale},
            why=planned[1] if planned is not None else "",
            stat_received=revision.poked_s,
            decided=revision.decided_s,
            patched=self._clock(),
        )
        return True

    # Proxy or serve.

    async def _route(
        self,
        autoscaler: PodAutoscaler,
        settings: RevisionSettings,
        revision: Revision,
        want: int,
        pods: PodCounts,
        conditions: Conditions,
    ) -> ServerlessService:
        """Put activators before the revision when it is at zero or short of burst capacity, else take them away."""
        is_inactive = conditions.is_false("Active")
        excess = revision.excess_burst_capacity
        serves = want != 0 and excess >= 0 and not (want == UNKNOWN_SCALE and is_inactive)
        mode = SERVE if serves else PROXY
        activators = activator_count(pods.ready, settings.decider)
        service, before = await self._owned.serverless_service(autoscaler, mode, activators)
        if before != mode:
            self._log.info(
                "mode_changed",
                namespace=revision.key[0],
                revision=revision.key[1],
                mode=mode.lower(),
                want=want,
                excess_burst_capacity=excess,
                activators=activators,
            )
        return service


def _situation(revision: Revision, conditions: Conditions, service: ServerlessService, ages: Ages) -> Situation:
    active = conditions.status("Active")
    # What is kept because too little was seen is no reason to make a revision active again, as after a restart.
    is_known = revision.last is None or not (revision.last.is_held and active == "False")
    proxied = next((c for c in service.status.conditions if c.type == "ActivatorEndpointsPopulated"), None)
    return Situation(
        desired=revision.desired if is_known else UNKNOWN_SCALE,
        active=active,
        active_status_for_s=ages.in_status_s(revision.key, conditions.get("Active"), active),
        is_initialized=conditions.is_true("ScaleTargetInitialized"),
        is_proxied=service.spec.mode == PROXY,
        proxied_for_s=max(0.0, ages.in_status_s(revision.key, proxied, "True")),
    )


def _report_service(service: ServerlessService, conditions: Conditions) -> None:
    if is_service_ready(service):
        conditions.mark_true("SKSReady")
    else:
        message = next((c.message for c in service.status.conditions if c.type == "Ready"), "")
        conditions.mark_unknown("SKSReady", "NotReady", message)


def _report(
    status: PodAutoscalerStatus, conditions: Conditions, settings: RevisionSettings, want: int, pods: PodCounts
) -> None:
    """Status figures, and the conditions Active and ScaleTargetInitialized."""
    status.actual_scale = pods.ready
    # An unknown wish does not wipe out a known one.
    if want != UNKNOWN_SCALE or status.desired_scale is None or status.desired_scale < 0:
        status.desired_scale = want
    activity = next_activity(
        active=conditions.status("Active"),
        is_initialized=conditions.is_true("ScaleTargetInitialized"),
        has_service=bool(status.service_name),
        want=want,
        ready=pods.ready,
        min_scale=settings.min_scale,
        initial_scale=settings.initial_scale,
    )
    if activity.becomes_initialized:
        conditions.mark_true("ScaleTargetInitialized")
    mark = activity.active
    if mark is None:
        return
    if mark.status == "True":
        conditions.mark_true("Active")
    elif mark.status == "Unknown":
        conditions.mark_unknown("Active", mark.reason, mark.message)
    else:
        conditions.mark_false("Active", mark.reason, mark.message)
