"""`local_cluster/node/pod_status.py`."""

import json

import msgspec

from local_cluster.node.probe_state import ProbeKind
from tests.local_cluster.node.dialogue import PRE_STOP, Dialogue

HTTP = {"httpGet": {"port": 80}}


def test_the_first_status_already_has_the_addresses() -> None:
    pod = Dialogue("a")
    pod.begin()
    status = json.loads(msgspec.json.encode(pod.status()))
    assert status["phase"] == "Pending"
    assert (status["podIP"], status["hostIP"]) == ("127.80.1.1", "127.80.0.1")
    assert status["podIPs"] == [{"ip": "127.80.1.1"}]
    assert status["startTime"] == "1970-01-12T13:46:40Z"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert status["containerStatuses"][0]["ready"] is False
    assert status["containerStatuses"][0]["restartCount"] == 0


def test_a_running_pod_whose_probe_fails_is_running_and_not_ready() -> None:
    pod = Dialogue({"name": "a", "readinessProbe": HTTP}, "b")
    pod.begin()
    pod.spawned("a")
    pod.spawned("b")
    status = pod.status()
    assert status.phase == "Running"
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "ContainersNotReady")
    assert ready.message == "containers with unready status: [a]"
    assert pod.condition("Initialized") == pod.condition("PodScheduled") == "True"


def test_conditions_keep_their_transition_time_until_they_change() -> None:
    pod = Dialogue({"name": "a", "readinessProbe": HTTP})
    pod.begin()
    pod.spawned("a")
    times = {c.type: c.last_transition_time for c in pod.status().conditions}
    pod.after(5)
    pod.probe("a", ProbeKind.READINESS, True)
    later = {c.type: c.last_transition_time for c in pod.status().conditions}
    assert later["Initialized"] == times["Initialized"] == "1970-01-12T13:46:40Z"
    assert later["Ready"] == later["ContainersReady"] == "1970-01-12T13:46:45Z"


def test_a_pod_being_deleted_is_not_ready_from_the_first_moment() -> None:
    pod = Dialogue({"name": "a", **PRE_STOP})
    pod.begin()
    pod.spawned("a")
    assert pod.condition("Ready") == "True"
    pod.delete()
    assert pod.condition("Ready") == pod.condition("ContainersReady") == "False"
    assert not pod.container("a").ready
    assert pod.status().phase == "Running"


def test_init_containers_show_in_phase_and_conditions() -> None:
    pod = Dialogue("app", initContainers=[{"name": "i"}])
    pod.begin()
    pod.spawned("i")
    assert pod.status().phase == "Pending"
    assert pod.condition("Initialized") == "False"
    assert pod.container("app").state.waiting.reason == "PodInitializing"
    pod.exited("i")
    pod.spawned("app")
    assert pod.status().phase == "Running"
    assert pod.condition("Initialized") == "True"
    assert pod.container("i").state.terminated.reason == "Completed"


def test_a_crash_shows_exit_code_signal_and_what_was_said_last() -> None:
    pod = Dialogue("a")
    pod.begin()
    pod.spawned("a")
    pod.exited("a", 137, 9, "last words")
    pod.spawned("a")
    ended = pod.container("a").last_state.terminated
    assert (ended.exit_code, ended.signal, ended.reason, ended.message) == (137, 9, "Error", "last words")
    assert pod.container("a").restart_count == 1
    pod.exited("a", 1, 0, "again")
    status = pod.container("a")
    assert status.state.waiting.message == "back-off 10s restarting failed container=a pod=p_ns(u)"
    assert status.last_state.terminated.message == "again"
    assert pod.status().phase == "Running"


def test_an_exit_code_of_zero_is_written() -> None:
    pod = Dialogue("a", restartPolicy="Never")
    pod.begin()
    pod.spawned("a")
    pod.exited("a", 0)
    written = json.loads(msgspec.json.encode(pod.status()))
    assert written["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


def test_phases_of_pods_that_end() -> None:
    for codes, phase, reason in (((0, 0), "Succeeded", "PodCompleted"), ((0, 1), "Failed", "PodFailed")):
        pod = Dialogue("a", "b", restartPolicy="Never")
        pod.begin()
        for name, code in zip(("a", "b"), codes, strict=True):
            pod.spawned(name)
            pod.exited(name, code)
        assert pod.status().phase == phase
        assert next(c.reason for c in pod.status().conditions if c.type == "Ready") == reason


def test_a_container_that_never_ran_keeps_the_pod_pending() -> None:
    pod = Dialogue("a", "b")
    pod.begin()
    pod.spawned("a")
    pod.not_created("b", "ErrImagePull", "no command for it")
    assert pod.status().phase == "Pending"
    assert pod.container("b").state.waiting.message == "no command for it"
