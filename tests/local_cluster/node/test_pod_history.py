"""`local_cluster/node/pod_history.py`: pods whose containers ran under a node before."""

from typing import Any

import msgspec

from kube.models.core import Pod
from local_cluster.node.container_record import State
from local_cluster.node.pod_actions import Spawn
from local_cluster.node.pod_history import resume
from local_cluster.node.pod_plan import PodPlan
from local_cluster.node.pod_state import PodMachine

NOW_S = 1_800_000_000.0
RAN = {"running": {"startedAt": "2026-11-01T00:00:00Z"}}


def ended(code: int) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": "Error", "finishedAt": "2026-11-01T00:00:09Z"}}


def machine(policy: str, inits: dict[str, dict[str, Any] | None], **containers: dict[str, Any] | None) -> PodMachine:
    """A machine of containers with these states; None: it never ran."""

    def statuses(states: dict[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
        return [
            {"name": name, "state": state or {}, "restartCount": 3, "containerID": f"process://{name}" if state else ""}
            for name, state in states.items()
        ]

    data = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {
            "restartPolicy": policy,
            "containers": [{"name": name} for name in containers],
            "initContainers": [{"name": name} for name in inits],
        },
        "status": {"containerStatuses": statuses(containers), "initContainerStatuses": statuses(inits)},
    }
    pod = msgspec.convert(data, Pod)
    made = PodMachine(PodPlan.of(pod))
    resume(made, pod, NOW_S)
    return made


def test_what_ran_is_started_again_as_one_more_incarnation() -> None:
    found = machine("Always", {}, a=RAN, b=None)
    assert found.begin(NOW_S) == [Spawn("a", 4), Spawn("b", 0)]
    lost = found.record("a").last
    assert lost is not None
    assert (lost.exit_code, lost.reason, lost.container_id) == (137, "ContainerStatusUnknown", "process://a")


def test_a_pod_that_is_never_restarted_has_failed() -> None:
    found = machine("Never", {}, a=RAN)
    assert found.begin(NOW_S) == []
    assert found.is_finished
    termination = found.record("a").termination
    assert termination is not None
    assert termination.exit_code == 137


def test_what_had_succeeded_does_not_run_again() -> None:
    found = machine("OnFailure", {}, a=ended(0), b=RAN, c=ended(1))
    assert found.begin(NOW_S) == [Spawn("b", 4), Spawn("c", 4)]
    assert found.record("a").state is State.ENDED
    last = found.record("c").last
    assert last is not None
    assert (last.exit_code, last.reason) == (1, "Error")


def test_init_containers_run_again_before_the_others() -> None:
    found = machine("Always", {"first": ended(0), "second": ended(0)}, a=RAN)
    assert found.begin(NOW_S) == [Spawn("first", 4)]
    assert not found.is_initialised


def test_init_containers_of_a_pod_that_is_over_do_not_run_again() -> None:
    found = machine("Never", {"first": ended(0)}, a=ended(0))
    assert found.begin(NOW_S) == []
    assert found.is_initialised


def test_a_pod_without_history_begins_as_ever() -> None:
    assert machine("Never", {"first": None}, a=None).begin(NOW_S) == [Spawn("first", 0)]
