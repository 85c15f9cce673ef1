"""`local_cluster/workloads/jobs.py`: the policy on a stepped clock, and Jobs with real pods."""

from pathlib import Path
from typing import Any

import msgspec

from kube.models.batch import Job
from kube.models.core import Pod
from kube.timestamps import format_time
from local_cluster.workloads.jobs import decide
from tests.local_cluster.workloads.objects import pod
from tests.support.cluster import Cluster, running_cluster
from tests.support.processes import eventually

NOW_S = 1_800_000_000.0


def job(status: dict[str, Any] | None = None, **spec: Any) -> Job:
    data = {"metadata": {"name": "j", "namespace": "ns", "uid": "j-uid"}, "spec": spec, "status": status or {}}
    return msgspec.convert(data, Job)


def failed(name: str, at_s: float = NOW_S) -> Pod:
    data = msgspec.to_builtins(pod(name, phase="Failed", ready=False))
    state = {"terminated": {"exitCode": 1, "finishedAt": format_time(at_s)}}
    data["status"]["containerStatuses"] = [{"name": "c", "state": state}]
    return msgspec.convert(data, Pod)


def succeeded(name: str) -> Pod:
    return pod(name, phase="Succeeded", ready=False)


def test_as_many_at_once_as_parallelism_and_no_more_than_are_missing() -> None:
    spec = {"completions": 5, "parallelism": 3}
    assert decide(job(**spec), [], 0, NOW_S).create == 3
    assert decide(job(**spec), [pod("a")], 1, NOW_S).create == 1
    done = [succeeded(name) for name in "abcd"]
    assert decide(job(**spec), done, 0, NOW_S).create == 1
    too_many = decide(job(completions=1, parallelism=1), [pod("a"), pod("b")], 0, NOW_S)
    assert (too_many.create, len(too_many.delete)) == (0, 1)


def test_enough_successes_complete_it() -> None:
    decision = decide(job(completions=2, parallelism=2), [succeeded("a"), succeeded("b")], 0, NOW_S)
    assert [(c.type, c.status) for c in decision.status.conditions] == [("Complete", "True")]
    assert (decision.status.succeeded, decision.status.completion_time) == (2, format_time(NOW_S))


def test_a_work_queue_is_complete_when_one_succeeded_and_all_ended() -> None:
    busy = decide(job(parallelism=2), [succeeded("a"), pod("b")], 0, NOW_S)
    assert (busy.create, busy.delete, busy.status.conditions) == (0, (), [])
    assert (
        decide(job(parallelism=2), [succeeded("a"), succeeded("b")], 0, NOW_S).status.conditions[0].type == "Complete"
    )


def test_failed_pods_are_replaced_later_and_later() -> None:
    one = [failed("a", NOW_S)]
    waiting = decide(job(completions=1), one, 0, NOW_S + 4)
    assert (waiting.create, waiting.again_s) == (0, 6.0)
    assert decide(job(completions=1), one, 0, NOW_S + 10).create == 1
    assert decide(job(completions=1), [failed("a"), failed("b")], 0, NOW_S + 15).again_s == 5.0


def test_too_many_failures_or_too_long_end_it_and_its_pods() -> None:
    over = decide(job(completions=3, parallelism=2, backoffLimit=1), [failed("a"), failed("b"), pod("c")], 0, NOW_S)
    assert [(c.type, c.reason) for c in over.status.conditions] == [("Failed", "BackoffLimitExceeded")]
    assert [p.name for p in over.delete] == ["c"]
    started = {"startTime": format_time(NOW_S)}
    late = job(started, completions=1, activeDeadlineSeconds=5)
    assert decide(late, [pod("a")], 0, NOW_S + 3).again_s == 2.0
    assert decide(late, [pod("a")], 0, NOW_S + 5).status.conditions[0].reason == "DeadlineExceeded"


def test_restarts_in_place_count_as_failures() -> None:
    spec = {"completions": 1, "backoffLimit": 2}
    assert decide(job(**spec), [pod("a", restarts=2)], 0, NOW_S).status.conditions == []
    assert decide(job(**spec), [pod("a", restarts=3)], 0, NOW_S).status.conditions[0].type == "Failed"


def test_a_suspended_job_has_no_pods() -> None:
    decision = decide(job(completions=2, parallelism=2, suspend=True), [pod("a")], 0, NOW_S)
    assert (decision.create, len(decision.delete), decision.status.start_time) == (0, 1, None)


def test_a_finished_job_goes_when_its_time_is_over_and_counts_what_was() -> None:
    condition = {"type": "Complete", "status": "True", "lastTransitionTime": format_time(NOW_S)}
    done = job({"succeeded": 1, "conditions": [condition]}, completions=1, ttlSecondsAfterFinished=30)
    kept = decide(done, [], 0, NOW_S + 10)
    assert (kept.remove, kept.again_s, kept.status.succeeded, kept.create) == (False, 20.0, 1, 0)
    assert decide(done, [], 0, NOW_S + 30).remove


async def create_job(cluster: Cluster, name: str, script: str, **spec: Any) -> None:
    containers = [{"name": "c", "image": "x", "command": ["sh", "-c", script]}]
    template = {"spec": {"containers": containers, "restartPolicy": spec.pop("restartPolicy", "Never")}}
    await cluster.create(Job, name, spec={"template": template, **spec})


def conditions(job: Job) -> list[str]:
    return [condition.type for condition in job.status.conditions]


async def test_jobs_run_their_pods_to_the_end(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_job(cluster, "three", "echo done", completions=3, parallelism=2)
        await create_job(cluster, "bad", "exit 3", backoffLimit=0)
        await create_job(cluster, "brief", "true", ttlSecondsAfterFinished=0)
        three = await cluster.until(Job, "three", conditions)
        assert (conditions(three), three.status.succeeded, three.status.active) == (["Complete"], 3, 0)
        pods = (await cluster.client.list(Pod, "default", label_selector="job-name=three")).items
        assert [p.status.phase for p in pods] == ["Succeeded"] * 3
        bad = await cluster.until(Job, "bad", conditions)
        assert (conditions(bad), bad.status.failed) == (["Failed"], 1)
        await cluster.until_gone(Job, "brief")
        await cluster.client.delete(Job, "three", "default")

        async def gone() -> bool:
            return not (await cluster.client.list(Pod, "default", label_selector="job-name=three")).items

        await eventually(gone)
