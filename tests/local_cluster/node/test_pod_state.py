"""`local_cluster/node/pod_state.py`: the life of a pod as a dialogue."""

from hypothesis import given
from hypothesis import strategies as st

from local_cluster.node.container_record import State
from local_cluster.node.probe_state import ProbeKind
from tests.local_cluster.node.dialogue import PRE_STOP, Dialogue

READINESS, LIVENESS, STARTUP = ProbeKind.READINESS, ProbeKind.LIVENESS, ProbeKind.STARTUP
HTTP = {"httpGet": {"port": 80}}


# Start.


def test_all_containers_start_at_once_and_the_pod_is_ready_when_they_run() -> None:
    pod = Dialogue("a", "b")
    assert pod.begin() == ["spawn a", "spawn b"]
    assert pod.spawned("a") == []
    assert not pod.machine.is_ready
    pod.spawned("b")
    assert pod.machine.is_ready


def test_init_containers_run_one_after_the_other_before_the_rest() -> None:
    pod = Dialogue("app", initContainers=[{"name": "i1"}, {"name": "i2"}])
    assert pod.begin() == ["spawn i1"]
    assert pod.spawned("i1") == []
    assert pod.exited("i1") == ["spawn i2"]
    pod.spawned("i2")
    assert pod.exited("i2") == ["spawn app"]
    pod.spawned("app")
    assert pod.machine.is_ready


def test_a_failing_init_container_is_tried_again() -> None:
    pod = Dialogue("app", initContainers=[{"name": "i"}])
    pod.begin()
    pod.spawned("i")
    assert pod.exited("i", 1) == ["spawn i #1"]
    pod.spawned("i")
    assert pod.exited("i", 1) == []
    assert pod.after(10) == ["spawn i #2"]
    pod.spawned("i")
    assert pod.exited("i", 0) == ["spawn app"]


def test_a_failing_init_container_ends_a_pod_that_never_restarts() -> None:
    pod = Dialogue("app", initContainers=[{"name": "i"}], restartPolicy="Never")
    pod.begin()
    pod.spawned("i")
    assert pod.exited("i", 3) == []
    assert pod.machine.is_finished
    assert pod.status().phase == "Failed"


def test_a_sidecar_only_has_to_start_and_ends_with_the_last_container() -> None:
    sidecar = {"name": "s", "restartPolicy": "Always", "startupProbe": HTTP}
    pod = Dialogue("app", initContainers=[sidecar], restartPolicy="Never")
    assert pod.begin() == ["spawn s"]
    assert pod.spawned("s") == []
    assert pod.after(0) == ["probe s Startup"]
    assert pod.probe("s", STARTUP, True) == ["spawn app"]
    pod.spawned("app")
    assert pod.exited("app") == ["term s"]
    assert pod.exited("s", 143, 15) == []
    assert pod.status().phase == "Succeeded"


def test_a_post_start_hook_delays_readiness_and_its_failure_stops_the_container() -> None:
    pod = Dialogue({"name": "a", "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}})
    pod.begin()
    assert pod.spawned("a") == ["postStart a"]
    assert not pod.machine.is_ready
    assert pod.hook_done("a", "postStart") == []
    assert pod.machine.is_ready
    pod.exited("a", 1)
    assert pod.spawned("a") == ["postStart a"]
    assert pod.hook_done("a", "postStart", "boom") == ["term a"]


# Restart.


def test_a_container_that_ends_is_restarted_at_once_then_with_back_off() -> None:
    pod = Dialogue("a")
    pod.begin()
    pod.spawned("a")
    assert pod.exited("a", 1) == ["spawn a #1"]
    pod.spawned("a")
    assert pod.exited("a", 1) == []
    assert pod.container("a").state.waiting.reason == "CrashLoopBackOff"
    assert pod.after(9.9) == []
    assert pod.after(0.2) == ["spawn a #2"]
    pod.spawned("a")
    pod.exited("a", 1)
    assert pod.after(19.9) == []
    assert pod.after(0.2) == ["spawn a #3"]


def test_a_command_that_cannot_start_counts_as_an_end_with_128() -> None:
    pod = Dialogue("a")
    pod.begin()
    assert pod.spawn_failed("a", 'exec: "nope": executable file not found in $PATH') == ["spawn a #1"]
    assert pod.spawn_failed("a") == []
    status = pod.container("a")
    assert status.state.waiting.reason == "CrashLoopBackOff"
    assert (status.last_state.terminated.exit_code, status.last_state.terminated.reason) == (128, "StartError")
    assert status.restart_count == 1


def test_restart_policies() -> None:
    for policy, code, restarts in (
        ("Always", 0, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 1, False),
    ):
        pod = Dialogue("a", restartPolicy=policy)
        pod.begin()
        pod.spawned("a")
        assert (pod.exited("a", code) != []) is restarts, policy
        assert pod.machine.is_finished is not restarts


def test_an_unknown_image_waits_and_is_tried_again() -> None:
    pod = Dialogue({"name": "a", "image": "x:1"}, "b")
    pod.begin()
    pod.not_created("a", "ErrImagePull", "no command for x:1")
    pod.spawned("b")
    assert pod.container("a").state.waiting.reason == "ErrImagePull"
    assert pod.after(2) == ["spawn a"]
    pod.not_created("a", "ErrImagePull", "no command for x:1")
    waiting = pod.container("a").state.waiting
    assert (waiting.reason, waiting.message) == ("ImagePullBackOff", 'Back-off pulling image "x:1": no command for x:1')
    assert pod.after(2) == ["spawn a"]
    pod.spawned("a")
    assert pod.machine.is_ready
    assert pod.container("a").restart_count == 0


def test_the_same_refusal_is_reported_once() -> None:
    pod = Dialogue("a")
    pod.begin()
    for _ in range(3):
        pod.not_created("a", "CreateContainerConfigError", 'configmap "m" not found')
        pod.after(2)
    assert len(pod.reports) == 1


# Probes.


def test_readiness_decides_whether_the_pod_is_ready() -> None:
    pod = Dialogue({"name": "a", "readinessProbe": {**HTTP, "failureThreshold": 1}})
    pod.begin()
    pod.spawned("a")
    assert pod.after(0) == ["probe a Readiness"]
    pod.probe("a", READINESS, False)
    assert not pod.machine.is_ready
    pod.after(0.1)
    pod.probe("a", READINESS, True)
    assert pod.machine.is_ready
    assert pod.after(10) == ["probe a Readiness"]
    pod.probe("a", READINESS, False)
    assert not pod.machine.is_ready
    assert pod.machine.record("a").state is State.RUNNING
    assert pod.reports[-1].reason == "Unhealthy"


def test_liveness_failure_runs_the_hook_stops_and_restarts_the_container() -> None:
    pod = Dialogue({"name": "a", "livenessProbe": {**HTTP, "failureThreshold": 1, "periodSeconds": 1}, **PRE_STOP})
    pod.begin()
    pod.spawned("a")
    assert pod.after(0) == ["probe a Liveness"]
    assert pod.probe("a", LIVENESS, False) == ["preStop a"]
    assert not pod.machine.is_ready
    assert pod.hook_done("a") == ["term a"]
    assert pod.exited("a", 143, 15) == ["spawn a #1"]
    assert "failed liveness probe, will be restarted" in pod.reports[1].message


def test_other_probes_wait_for_the_startup_probe() -> None:
    pod = Dialogue({"name": "a", "startupProbe": HTTP, "livenessProbe": HTTP, "readinessProbe": HTTP})
    pod.begin()
    pod.spawned("a")
    assert pod.after(0) == ["probe a Startup"]
    assert not pod.machine.record("a").is_started
    pod.probe("a", STARTUP, True)
    assert pod.machine.record("a").is_started
    assert pod.after(0) == ["probe a Readiness", "probe a Liveness"]


def test_a_startup_probe_that_never_succeeds_restarts_the_container() -> None:
    pod = Dialogue({"name": "a", "startupProbe": {**HTTP, "periodSeconds": 1, "failureThreshold": 2}})
    pod.begin()
    pod.spawned("a")
    said: list[str] = []
    while "term a" not in said:
        said = pod.after(0.5)
        if said:
            said += pod.probe("a", STARTUP, False)
        assert pod.now_s < 1_000_003
    assert pod.exited("a", 143, 15) == ["spawn a #1"]


def test_results_for_an_earlier_incarnation_mean_nothing() -> None:
    pod = Dialogue({"name": "a", "readinessProbe": HTTP})
    pod.begin()
    pod.spawned("a")
    pod.after(0)
    pod.exited("a", 1)
    pod.spawned("a")
    pod.probe("a", READINESS, True, incarnation=0)
    assert not pod.machine.is_ready
    pod.after(0)
    pod.probe("a", READINESS, True, incarnation=1)
    assert pod.machine.is_ready


# End.


def test_deletion_runs_hooks_beside_sigterm_to_the_others_and_removes_at_the_end() -> None:
    pod = Dialogue({"name": "user", **PRE_STOP}, "queue-proxy", terminationGracePeriodSeconds=300)
    pod.begin()
    pod.spawned("user")
    pod.spawned("queue-proxy")
    assert pod.delete() == ["preStop user", "term queue-proxy"]
    assert not pod.machine.is_ready
    assert pod.after(30) == []
    assert pod.hook_done("user") == ["term user"]
    assert pod.exited("queue-proxy", 0) == []
    assert pod.exited("user", 143, 15) == ["remove"]


def test_a_hook_that_fails_is_reported_and_does_not_delay() -> None:
    pod = Dialogue({"name": "user", **PRE_STOP})
    pod.begin()
    pod.spawned("user")
    pod.delete()
    assert pod.hook_done("user", error="connection refused") == ["term user"]
    assert pod.reports[-1].reason == "FailedPreStopHook"


def test_sigkill_comes_with_the_end_of_the_grace_period() -> None:
    pod = Dialogue("a", terminationGracePeriodSeconds=5)
    pod.begin()
    pod.spawned("a")
    assert pod.delete() == ["term a"]
    assert pod.after(4.9) == []
    assert pod.after(0.2) == ["kill a"]
    assert pod.exited("a", 137, 9) == ["remove"]


def test_a_hook_that_uses_up_the_grace_period_leaves_two_seconds_for_sigterm() -> None:
    pod = Dialogue({"name": "a", **PRE_STOP}, terminationGracePeriodSeconds=5)
    pod.begin()
    pod.spawned("a")
    pod.delete()
    pod.after(4.5)
    assert pod.hook_done("a") == ["term a"]
    assert pod.after(1.9) == []
    assert pod.after(0.2) == ["kill a"]


def test_the_second_deletion_may_only_shorten_the_grace_period() -> None:
    pod = Dialogue("a")
    pod.begin()
    pod.spawned("a")
    assert pod.delete(30) == ["term a"]
    assert pod.delete(60) == []
    assert pod.after(1) == []
    assert pod.delete(0) == ["kill a"]


def test_deletion_without_grace_kills_at_once_and_runs_no_hook() -> None:
    pod = Dialogue({"name": "a", **PRE_STOP})
    pod.begin()
    pod.spawned("a")
    assert pod.delete(0) == ["kill a"]


def test_containers_without_a_process_do_not_hold_up_the_removal() -> None:
    pod = Dialogue("waiting", "crashing", "refused")
    pod.begin()
    pod.spawned("crashing")
    pod.exited("crashing", 1)
    pod.spawned("crashing")
    pod.exited("crashing", 1)
    pod.not_created("refused", "ErrImagePull")
    assert pod.delete() == []
    assert pod.spawned("waiting") == ["term waiting"]
    assert pod.exited("waiting", 0) == ["remove"]


def test_a_container_that_turns_out_to_be_impossible_during_deletion_is_given_up() -> None:
    pod = Dialogue("a")
    pod.begin()
    assert pod.delete() == []
    assert pod.not_created("a", "CreateContainerConfigError") == ["remove"]


def test_a_pod_that_is_deleted_before_it_began_is_removed_at_once() -> None:
    pod = Dialogue("a", initContainers=[{"name": "i"}])
    assert pod.delete() == ["remove"]
    assert pod.begin() == []


def test_nothing_restarts_during_deletion() -> None:
    pod = Dialogue("a", "b")
    pod.begin()
    pod.spawned("a")
    pod.spawned("b")
    pod.delete()
    assert pod.exited("a", 1) == []
    assert pod.after(20) == []


FACTS = st.lists(
    st.sampled_from(["ok", "fail", "exit0", "exit1", "refuse", "hook", "time", "probe", "unprobe", "delete"]),
    max_size=60,
)


@given(FACTS, st.sampled_from(["Always", "OnFailure", "Never"]), st.booleans())
def test_whatever_happens_a_deleted_pod_is_removed_exactly_once(facts: list[str], policy: str, with_init: bool) -> None:
    container = {"name": "a", "readinessProbe": HTTP, "livenessProbe": {**HTTP, "failureThreshold": 1}, **PRE_STOP}
    pod = Dialogue(container, "b", restartPolicy=policy, initContainers=[{"name": "i"}] if with_init else [])
    said = pod.begin()
    for fact in [*facts, "delete"]:
        said += _tell(pod, fact)
    for _ in range(4):
        said += pod.after(600)
        for name in ("i", "a", "b")[0 if with_init else 1 :]:
            record = pod.machine.record(name)
            if record.state is State.CREATING:
                said += pod.spawned(name)
            if record.has_process:
                said += pod.exited(name, 137, 9)
    assert said.count("remove") == 1
    assert said[-1] == "remove"
    assert not pod.machine.is_ready
    assert pod.machine.next_at() is None


def _tell(pod: Dialogue, fact: str) -> list[str]:
    """A fact to the first container for which it is possible."""
    machine = pod.machine
    for record in (*machine.init_containers, *machine.containers):
        name = record.plan.name
        if record.state is State.CREATING:
            match fact:
                case "ok":
                    return pod.spawned(name)
                case "fail":
                    return pod.spawn_failed(name)
                case "refuse":
                    return pod.not_created(name, "ErrImagePull")
        elif record.has_process:
            match fact:
                case "exit0" | "exit1":
                    return pod.exited(name, int(fact[-1]))
                case "hook" if record.hook_pending:
                    return pod.hook_done(name, record.hook_pending)
                case "probe" | "unprobe" if record.probes:
                    kind = LIVENESS if fact == "unprobe" else READINESS
                    return pod.probe(name, kind, fact == "probe", record.restart_count)
    if fact == "time":
        return pod.after(11)
    return pod.delete(30) if fact == "delete" else []
