"""Revision: keeps its Deployment and PodAutoscaler, and says what became of them.

Source: knative/serving `pkg/reconciler/revision`, `pkg/apis/serving/v1/revision_lifecycle.go`; spec control-plane.md 6.
"""

import msgspec

from controller import deployment as deployments
from controller import images, pod_autoscaler, queue_container
from controller.certificates import QUEUE_PROXY_CERTIFICATE, Provisioner
from controller.cluster import POD_INDEX, Cluster
from controller.collection import NOT_OWNED_RETRY_S, Reconciler, happy_condition
from controller.digests import Failed, NodeResolver, Pending, Resolver
from kube.conditions import Conditions, ConditionSet
from kube.errors import Forbidden, Invalid
from kube.events import NORMAL
from kube.models.apps import Deployment, DeploymentStatus
from kube.models.autoscaling import PodAutoscaler, PodAutoscalerStatus
from kube.models.core import Pod
from kube.models.meta import Condition
from kube.models.serving import Revision, RevisionStatus

__all__ = ["CONDITIONS", "RevisionReconciler", "apply_deployment", "apply_pod", "apply_pod_autoscaler"]

CONDITIONS = ConditionSet(("ResourcesAvailable", "ContainerHealthy"))
DEPLOYING = "Deploying"
_CERTIFICATE_RETRY_S = 1.0
"""Secrets are not watched: there may be many, and few are the controller's to know."""
DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"


class RevisionReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: Cluster, resolver: Resolver | None = None) -> None:
        self._cluster = cluster
        self._resolver = resolver or NodeResolver()
        self._provisioner = Provisioner(cluster)

    def reconciler(self) -> Reconciler[Revision]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.revisions, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, revision: Revision, status: RevisionStatus, conditions: Conditions) -> float | None:
        """One pass."""
        before = conditions.status("Ready")
        status.log_url = self._cluster.settings.observability.log_url(revision.metadata.uid)
        if not _has_digests(revision, status):
            found = self._resolver.resolve(revision, self._cluster.settings.deployment)
            if isinstance(found, Pending):
                conditions.mark_unknown("ResourcesAvailable", "ResolvingDigests", "")
                return None
            if isinstance(found, Failed):
                cause = f"failed to resolve image to digest: {found.cause}"
                message = f'Unable to fetch image "{found.image}": {cause}'
                conditions.mark_false("ContainerHealthy", "ContainerMissing", message)
                return found.retry_s
            status.container_statuses = found.containers
            status.init_container_statuses = found.init_containers
            revision = msgspec.structs.replace(revision, status=status)
        if self._cluster.settings.network.system_internal_tls and not await self._provisioner.provide_queue_proxies(
            revision.namespace
        ):
            text = f'Secret "{QUEUE_PROXY_CERTIFICATE}" has no certificate for queue-proxy yet.'
            conditions.mark_unknown("ResourcesAvailable", DEPLOYING, text)
            return _CERTIFICATE_RETRY_S
        try:
            deployment = await self._deployment(revision, conditions)
        except (Invalid, Forbidden) as error:
            conditions.mark_false("ResourcesAvailable", "FailedCreate", error.message)
            return NOT_OWNED_RETRY_S
        except queue_container.ProbeWithoutPort as error:
            conditions.mark_false("ResourcesAvailable", "FailedCreate", str(error))
            return None
        if deployment is not None and not deployment.is_controlled_by(revision):
            message = f'There is an existing Deployment "{deployment.name}" that we do not own.'
            conditions.mark_false("ResourcesAvailable", "NotOwned", message)
            return NOT_OWNED_RETRY_S
        autoscaler = await self._pod_autoscaler(revision, conditions, deployment)
        if not autoscaler.is_controlled_by(revision):
            message = f'There is an existing PodAutoscaler "{autoscaler.name}" that we do not own.'
            conditions.mark_false("ResourcesAvailable", "NotOwned", message)
            return NOT_OWNED_RETRY_S
        apply_pod_autoscaler(autoscaler.status, status, conditions)
        self._tell_transition(revision, before, conditions)
        return None

    async def _deployment(self, revision: Revision, conditions: Conditions) -> Deployment | None:
        """The Deployment, created or brought up to date; the conditions say how it fares. None: it was just created."""
        collection = self._cluster.deployments
        wanted = deployments.build(revision, self._cluster.settings, self._cluster.system_namespace)
        existing = collection.get(revision.namespace, deployments.name_of(revision))
        if existing is None:
            conditions.mark_unknown("ResourcesAvailable", DEPLOYING, "")
            conditions.mark_unknown("ContainerHealthy", DEPLOYING, "")
            return await collection.create(wanted)
        if not existing.is_controlled_by(revision):
            return existing
        operations = deployments.update_patch(existing, wanted)
        if operations is not None:
            existing = await collection.patch(existing, operations, type="json")
        apply_deployment(existing.status, conditions)
        if (existing.spec.replicas or 0) > 0 and existing.status.available_replicas == 0:
            pod = self._one_pod(revision)
            if pod is not None:
                always = self._cluster.settings.deployment.pod_is_always_schedulable
                apply_pod(pod, existing.status, conditions, is_always_schedulable=always)
        if existing.status.ready_replicas > 0:
            conditions.mark_true("ContainerHealthy")
        return existing

    async def _pod_autoscaler(
        self, revision: Revision, conditions: Conditions, deployment: Deployment | None
    ) -> PodAutoscaler:
        collection = self._cluster.pod_autoscalers
        reachable = pod_autoscaler.reachability(revision, conditions, deployment)
        existing = collection.get(revision.namespace, revision.name)
        if existing is None:
            default_class = self._cluster.settings.autoscaler.pod_autoscaler_class
            return await collection.create(pod_autoscaler.build(revision, reachable, default_class))
        if not existing.is_controlled_by(revision):
            return existing
        patch = pod_autoscaler.drift_patch(existing, revision, reachable)
        return existing if patch is None else await collection.patch(existing, patch)

    def _one_pod(self, revision: Revision) -> Pod | None:
        """One of the Revision's pods, for its failures: when none is available all of them fare alike.

        Pods that failed before come first, since they know why.
        """
        pods = [
            pod
            for pod in self._cluster.pods.informer.by_index(POD_INDEX, revision.metadata.uid)
            if pod.namespace == revision.namespace and pod.metadata.deletion_timestamp is None
        ]
        return min(pods, key=lambda pod: (not _has_terminated(pod), pod.name), default=None)

    def _tell_transition(self, revision: Revision, before: str, conditions: Conditions) -> None:
        ready = conditions.get("Ready")
        event = {"True": "revision_ready", "False": "revision_failed"}.get(conditions.status("Ready"))
        if ready is None or event is None or ready.status == before:
            return
        if ready.status == "True":
            self._cluster.events.report(
                revision, NORMAL, "RevisionReady", "Revision becomes ready upon all resources being ready"
            )
        self._cluster.log.info(
            event, namespace=revision.namespace, revision=revision.name, reason=ready.reason, detail=ready.message
        )


def _has_digests(revision: Revision, status: RevisionStatus) -> bool:
    """Whether they were resolved, in a former pass or in a former life of the controller."""
    return len(status.container_statuses) == len(revision.spec.get("containers") or []) and len(
        status.init_container_statuses
    ) == len(revision.spec.get("initContainers") or [])


def apply_deployment(source: DeploymentStatus, conditions: Conditions) -> None:
    """ResourcesAvailable from the Deployment's own conditions."""
    progressing = _condition(source.conditions, "Progressing")
    failure = _condition(source.conditions, "ReplicaFailure")
    for bad in (
        progressing if progressing is not None and progressing.status == "False" else None,
        failure if failure is not None and failure.status == "True" else None,
    ):
        if bad is not None:
            conditions.mark_false("ResourcesAvailable", bad.reason, bad.message)
            return
    if progressing is None:
        conditions.mark_unknown("ResourcesAvailable", DEPLOYING, "")
    elif progressing.status == "Unknown":
        conditions.mark_unknown("ResourcesAvailable", progressing.reason, progressing.message)
    else:
        conditions.mark_true("ResourcesAvailable")


def apply_pod(pod: Pod, source: DeploymentStatus, conditions: Conditions, *, is_always_schedulable: bool) -> None:
    """What a pod that is not available says: no node for it, no image, a program that ends."""
    scheduled = _condition(pod.status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.status == "False" and not is_always_schedulable:
        conditions.mark_false("ResourcesAvailable", scheduled.reason, scheduled.message)
    progressing = _condition(source.conditions, "Progressing")
    timed_out = progressing is not None and progressing.status == "False" and progressing.reason == DEADLINE_EXCEEDED
    asked = {container.name: container.image for container in pod.spec.containers}
    for container in pod.status.container_statuses:
        if container.name == queue_container.NAME:
            continue
        ended = container.last_state.terminated
        if ended is not None:
            text = ended.message or ("container exited with no error" if ended.exit_code == 0 else "")
            conditions.mark_false("ContainerHealthy", f"ExitCode{ended.exit_code}", f"Container failed with: {text}")
            return
        cause = images.missing_image(container)
        if cause is not None:
            message = f'Unable to fetch image "{asked.get(container.name, container.image)}": {cause}'
            conditions.mark_false("ContainerHealthy", "ContainerMissing", message)
            return
        waiting = container.state.waiting
        if waiting is not None and timed_out:
            conditions.mark_false("ResourcesAvailable", waiting.reason, waiting.message)
            return


def apply_pod_autoscaler(source: PodAutoscalerStatus, status: RevisionStatus, conditions: Conditions) -> None:
    """Scales, and whether the Revision ever reached its initial scale, from the PodAutoscaler (spec 6.4)."""
    failed = conditions.is_false("ResourcesAvailable") or conditions.is_false("ContainerHealthy")
    status.actual_replicas = _known(source.actual_scale)
    status.desired_replicas = _known(source.desired_scale)
    ready = happy_condition(source)
    if ready is None:
        conditions.mark_unknown("Active", DEPLOYING, "")
        if not failed:
            conditions.mark_unknown("ResourcesAvailable", DEPLOYING, "")
        return
    initialised = _condition(source.conditions, "ScaleTargetInitialized")
    was_reached = initialised is not None and initialised.status == "True"
    if was_reached and not failed:
        # Once its pods were ready a Revision is fine, also while it has none.
        conditions.mark_true("ResourcesAvailable")
        conditions.mark_true("ContainerHealthy")
    if conditions.is_true("ResourcesAvailable") and not (source.service_name and was_reached):
        conditions.mark_unknown("ResourcesAvailable", DEPLOYING, "")
    if ready.status == "Unknown":
        conditions.mark_unknown("Active", ready.reason, ready.message)
    elif ready.status == "False":
        if not was_reached and not failed and source.service_name:
            conditions.mark_false("ResourcesAvailable", DEADLINE_EXCEEDED, "Initial scale was never achieved")
        conditions.mark_false("Active", ready.reason, ready.message)
    else:
        conditions.mark_true("Active")


def _known(scale: int | None) -> int | None:
    return scale if scale is not None and scale >= 0 else None


def _has_terminated(pod: Pod) -> bool:
    return any(
        status.last_state.terminated is not None
        for status in pod.status.container_statuses
        if status.name != queue_container.NAME
    )


def _condition(conditions: list[Condition], type_: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type_), None)
