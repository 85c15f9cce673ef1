"""The Job controller: pods until enough of them have succeeded, or too many have failed.

`decide` is the whole policy, without clock and API; the controller carries it out. Pods count as long as they exist,
and what a status once said of them is not taken back. Indexed completion and pod failure policies are not offered.
Source: Kubernetes documentation, "Jobs".
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from kube.client import Client
from kube.errors import NotFound
from kube.informer import Informer
from kube.models.batch import Job, JobStatus
from kube.models.core import Pod
from kube.models.meta import Condition
from kube.reconcile import Loop
from kube.timestamps import format_time, parse_time_s
from local_cluster.workloads.local_writes import take_in
from local_cluster.workloads.owned_pods import OwnedPods, pod_of
from local_cluster.workloads.pod_ranking import is_active, to_delete
from local_cluster.workloads.replica_sets import OWNER_INDEX
from proxies.logs import Logger

__all__ = ["JobController", "JobDecision", "decide"]

_BACKOFF_LIMIT = 6
_BACKOFF_FIRST_S, _BACKOFF_MAX_S = 10.0, 360.0
_WRITES_MAX = 64
Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDecision:
    """What is to be done for a Job, and what to write about it."""

    status: JobStatus
    create: int = 0
    delete: tuple[Pod, ...] = ()
    remove: bool = False
    """The Job has been finished for as long as it was to be kept."""
    again_s: float | None = None
    """Seconds after which time alone may change the decision."""


def decide(job: Job, pods: Sequence[Pod], creating: int, now_s: float) -> JobDecision:
    """`pods`: all of the Job's; `creating`: how many more are on their way."""
    spec, held = job.spec, job.status
    finished = next((c for c in held.conditions if c.type in ("Complete", "Failed") and c.status == "True"), None)
    active = [pod for pod in pods if is_active(pod)]
    status = JobStatus(
        start_time=held.start_time or (None if spec.suspend else format_time(now_s)),
        completion_time=held.completion_time,
        active=len(active),
        ready=sum(pod.is_ready() for pod in active),
        succeeded=max(held.succeeded, sum(pod.status.phase == "Succeeded" for pod in pods)),
        failed=max(held.failed, sum(pod.status.phase == "Failed" for pod in pods)),
        conditions=held.conditions,
    )
    if finished is not None:
        return _kept(spec.ttl_seconds_after_finished, finished, status, active, now_s)
    failure = _failure(job, status, pods, now_s)
    if failure is not None:
        return JobDecision(status=_ended(status, "Failed", *failure, now_s=now_s), delete=tuple(active))
    wanted = 1 if spec.parallelism is None else spec.parallelism
    if spec.completions is None:  # a work queue: the first success means that there is no more work
        is_complete = status.succeeded > 0 and not active
        wanted = len(active) if status.succeeded else wanted
    else:
        is_complete = status.succeeded >= spec.completions
        wanted = min(wanted, spec.completions - status.succeeded)
    if is_complete:
        ended = _ended(
            status, "Complete", "CompletionsReached", "Reached expected number of succeeded pods", now_s=now_s
        )
        return JobDecision(status=msgspec.structs.replace(ended, completion_time=format_time(now_s)))
    if spec.suspend:
        wanted = 0
    missing = wanted - len(active) - creating
    wait_s = _backoff_s(pods, now_s)
    if missing > 0 and wait_s > 0:
        return JobDecision(status=status, again_s=_sooner(wait_s, _deadline_s(job, status, now_s)))
    return JobDecision(
        status=status,
        create=max(0, missing),
        delete=tuple(to_delete(active, -missing)) if missing < 0 else (),
        again_s=_deadline_s(job, status, now_s),
    )


def _kept(ttl_s: int | None, finished: Condition, status: JobStatus, active: list[Pod], now_s: float) -> JobDecision:
    delete = tuple(active)
    if ttl_s is None:
        return JobDecision(status=status, delete=delete)
    left_s = parse_time_s(finished.last_transition_time or format_time(now_s)) + ttl_s - now_s
    return JobDecision(status=status, delete=delete, remove=left_s <= 0, again_s=left_s if left_s > 0 else None)


def _failure(job: Job, status: JobStatus, pods: Sequence[Pod], now_s: float) -> tuple[str, str] | None:
    """Reason and message when the Job cannot succeed any more."""
    limit = _BACKOFF_LIMIT if job.spec.backoff_limit is None else job.spec.backoff_limit
    restarts = sum(s.restart_count for pod in pods if is_active(pod) for s in pod.status.container_statuses)
    if status.failed > limit or (restarts > 0 and status.failed + restarts > limit):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    left_s = _deadline_s(job, status, now_s)
    if left_s is not None and left_s <= 0:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return None


def _deadline_s(job: Job, status: JobStatus, now_s: float) -> float | None:
    """Seconds left of `activeDeadlineSeconds`."""
    if job.spec.active_deadline_seconds is None or status.start_time is None or job.spec.suspend:
        return None
    return parse_time_s(status.start_time) + job.spec.active_deadline_seconds - now_s


def _backoff_s(pods: Sequence[Pod], now_s: float) -> float:
    """Seconds until the next pod may be created: 10, 20, 40, ... after the last failure."""
    ended = [pod for pod in pods if pod.status.phase == "Failed"]
    if not ended:
        return 0.0
    times = [
        parse_time_s(s.state.terminated.finished_at)
        for pod in ended
        for s in pod.status.container_statuses
        if s.state.terminated is not None and s.state.terminated.finished_at
    ]
    delay_s = min(_BACKOFF_FIRST_S * 2.0 ** (len(ended) - 1), _BACKOFF_MAX_S)
    return max(0.0, max(times, default=now_s) + delay_s - now_s)


def _ended(status: JobStatus, type_: str, reason: str, message: str, *, now_s: float) -> JobStatus:
    condition = Condition(
        type=type_, status="True", reason=reason, message=message, last_transition_time=format_time(now_s)
    )
    return msgspec.structs.replace(status, conditions=[*status.conditions, condition])


def _sooner(one_s: float, other_s: float | None) -> float:
    return one_s if other_s is None else min(one_s, other_s)


class JobController:
    """Keeps the pods of every Job. `jobs` and `pods` (indexed by `OWNER_INDEX`) are shared."""

    def __init__(
        self, client: Client, jobs: Informer[Job], pods: Informer[Pod], *, node_name: str, log: Logger
    ) -> None:
        self._client = client
        self._jobs = jobs
        self._pods = pods
        self._node_name = node_name
        self._owned = OwnedPods(client, "Job")
        self.loop: Loop[Key] = Loop("jobs", self._reconcile, workers=4, log=log)
        jobs.on_change(self._job_changed)
        pods.on_change(self._pod_changed)

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        changed = new or old
        if changed is not None:
            self.loop.add(changed.key)
        self._owned.owner_changed(old, new)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for key in self._owned.pod_changed(old, new):
            self.loop.add(key)

    async def _reconcile(self, key: Key) -> float | None:
        job = self._jobs.get(*key)
        if job is None or job.metadata.deletion_timestamp is not None:
            return None
        pods = list(self._pods.by_index(OWNER_INDEX, job.metadata.uid))
        decision = decide(job, pods, self._owned.expectations(job.metadata.uid).creating(), time.time())
        if msgspec.json.encode(decision.status) != msgspec.json.encode(job.status):
            try:
                take_in(self._jobs, await self._client.patch_status(job, decision.status))
            except NotFound:
                return None
        if decision.remove:
            await self._client.delete(Job, job.name, job.namespace, uid=job.metadata.uid)
            return None
        pod = pod_of(job, job.spec.template, self._node_name, _labels(job))
        await asyncio.gather(*(self._owned.create(job, pod) for _ in range(min(decision.create, _WRITES_MAX))))
        await asyncio.gather(*(self._owned.delete(job, pod) for pod in decision.delete))
        return decision.again_s


def _labels(job: Job) -> dict[str, str]:
    uid = job.metadata.uid
    return {
        "batch.kubernetes.io/job-name": job.name,
        "batch.kubernetes.io/controller-uid": uid,
        "job-name": job.name,
        "controller-uid": uid,
    }
