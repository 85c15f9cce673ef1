"""`local_cluster/workloads/rollout.py`."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.models.apps import Deployment, DeploymentStatus, ReplicaSet
from kube.models.meta import Condition
from kube.timestamps import format_time
from local_cluster.workloads.rollout import Bounds, deployment_status, plan_replicas, progress_due_s, template_hash
from tests.local_cluster.workloads.objects import deployment, replica_set

NOW_S = 1_767_225_600.0


def rolling(surge: Any, unavailable: Any, replicas: int = 4) -> Deployment:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return deployment(replicas, spec={"strategy": strategy})


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "bounds"),
    [
        ("25%", "25%", 10, (3, 2)),
        ("25%", 0, 1, (1, 0)),
        (2, 1, 4, (2, 1)),
        (0, 0, 4, (0, 1)),
        ("0%", "10%", 4, (0, 1)),
        (1, 9, 4, (1, 4)),
    ],
)
def test_bounds_round_surge_up_and_unavailable_down(surge: Any, unavailable: Any, replicas: int, bounds: Any) -> None:
    assert Bounds.of(rolling(surge, unavailable, replicas)) == Bounds(*bounds)


def test_the_default_bounds_are_a_quarter() -> None:
    assert Bounds.of(deployment(8)) == Bounds(2, 2)


@pytest.mark.parametrize(("has", "wants"), [(0, 5), (5, 0), (5, 2)])
def test_a_single_set_is_scaled_in_one_step(has: int, wants: int) -> None:
    assert plan_replicas(deployment(wants), replica_set("new", has, available=has), []) == {"new": wants}


def test_nothing_is_planned_when_nothing_is_to_do() -> None:
    assert plan_replicas(deployment(4), replica_set("new", 4, available=4), [replica_set("old", 0)]) == {}


def test_a_rolling_update_brings_the_surge_first_then_replaces_available_for_available() -> None:
    target = rolling(1, 0)
    assert plan_replicas(target, replica_set("new", 0), [replica_set("old", 4, available=4)]) == {"new": 1}
    assert plan_replicas(target, replica_set("new", 1), [replica_set("old", 4, available=4)]) == {}
    assert plan_replicas(target, replica_set("new", 1, available=1), [replica_set("old", 4, available=4)]) == {"old": 3}
    assert plan_replicas(target, replica_set("new", 1, available=1), [replica_set("old", 3, available=3)]) == {"new": 2}


def test_pods_of_old_sets_that_serve_nobody_go_first() -> None:
    olds = [replica_set("older", 2, available=0), replica_set("old", 2, available=2)]
    assert plan_replicas(rolling(2, 1), replica_set("new", 2, available=0), olds) == {"older": 1}
    assert plan_replicas(rolling(0, 1), replica_set("new", 0), [replica_set("broken", 4, available=0)]) == {"broken": 3}


def test_recreate_ends_all_old_pods_before_the_first_new_one() -> None:
    target = deployment(3, spec={"strategy": {"type": "Recreate"}})
    assert plan_replicas(target, replica_set("new", 0), [replica_set("old", 3, available=3)]) == {"old": 0}
    assert plan_replicas(target, replica_set("new", 0), [replica_set("old", 0, pods=1)]) == {}
    assert plan_replicas(target, replica_set("new", 0), [replica_set("old", 0)]) == {"new": 3}


def test_a_paused_deployment_is_only_scaled() -> None:
    assert plan_replicas(deployment(5), None, [replica_set("old", 3, available=3)]) == {"old": 5}
    both = [replica_set("a", 1, available=1), replica_set("b", 1, available=1)]
    assert plan_replicas(deployment(5), None, both) == {}
    assert plan_replicas(deployment(2), None, []) == {}


@given(
    wanted=st.integers(0, 12),
    surge=st.sampled_from([0, 1, 3, "25%", "100%"]),
    unavailable=st.sampled_from([0, 1, 2, "25%", "100%"]),
    old_sizes=st.lists(st.integers(0, 12), max_size=3),
    data=st.data(),
)
def test_a_rollout_ends_keeps_its_bounds_and_never_gets_stuck(
    wanted: int, surge: Any, unavailable: Any, old_sizes: list[int], data: st.DataObject
) -> None:
    """Pods become available one by one; deletions take effect at once."""
    target = rolling(surge, unavailable, wanted)
    bounds = Bounds.of(target)
    sizes = {"new": 0, **{f"old{index}": size for index, size in enumerate(old_sizes)}}
    up = {name: 0 if name == "new" else size for name, size in sizes.items()}
    start_total, start_up = sum(sizes.values()), sum(up.values())
    for _ in range(200):
        sets = {name: replica_set(name, size, available=up[name]) for name, size in sizes.items()}
        plan = plan_replicas(target, sets["new"], [s for name, s in sets.items() if name != "new"])
        sizes |= plan
        up = {name: min(count, sizes[name]) for name, count in up.items()}
        assert sum(sizes.values()) <= max(start_total, wanted + bounds.surge)
        assert sum(up.values()) >= min(start_up, wanted - bounds.unavailable)
        waiting = [name for name, size in sizes.items() if up[name] < size]
        if not plan and not waiting:
            break
        if waiting:
            up[data.draw(st.sampled_from(waiting))] += 1
    assert sizes == {name: wanted if name == "new" else 0 for name in sizes}


def test_equal_templates_have_equal_hashes_and_others_do_not() -> None:
    one = deployment(spec={"template": {"a": 1, "b": [2]}})
    assert template_hash(one) == template_hash(deployment(9, spec={"template": {"b": [2], "a": 1}}))
    assert template_hash(one) != template_hash(deployment(spec={"template": {"a": 1, "b": [3]}}))
    assert set(template_hash(one)) <= set("bcdfghjklmnpqrstvwxz2456789")


# Status.


def status(
    target: Deployment, new: ReplicaSet | None, *old: ReplicaSet, now_s: float = NOW_S
) -> dict[str, tuple[str, str]]:
    """Condition type -> (status, reason)."""
    conditions = deployment_status(target, new, old, now_s).conditions
    return {condition.type: (condition.status, condition.reason) for condition in conditions}


def test_counts() -> None:
    found = deployment_status(
        deployment(4), replica_set("new", 2, available=1), [replica_set("old", 3, available=3)], NOW_S
    )
    assert found.observed_generation == 2
    assert (found.replicas, found.updated_replicas) == (5, 2)
    assert (found.ready_replicas, found.available_replicas, found.unavailable_replicas) == (4, 4, 1)


def test_available_allows_for_the_unavailable_bound() -> None:
    assert status(rolling(0, 1), replica_set("n", 4, available=3))["Available"] == ("True", "MinimumReplicasAvailable")
    assert status(rolling(1, 0), replica_set("n", 4, available=3))["Available"] == (
        "False",
        "MinimumReplicasUnavailable",
    )
    assert status(rolling("25%", 0, 0), replica_set("n", 0))["Available"][0] == "True"


def with_progress(target: Deployment, reason: str, *, updated_s: float = NOW_S, **counts: int) -> Deployment:
    condition = Condition(
        type="Progressing",
        status="False" if reason == "ProgressDeadlineExceeded" else "True",
        reason=reason,
        last_update_time=format_time(updated_s),
        last_transition_time=format_time(updated_s - 100),
    )
    target.status = DeploymentStatus(conditions=[condition], **counts)
    return target


def test_progress_from_the_first_set_to_complete() -> None:
    assert status(deployment(2), replica_set("n", 2))["Progressing"] == ("True", "NewReplicaSetCreated")
    target = with_progress(deployment(2), "NewReplicaSetCreated", replicas=2, updated_replicas=2)
    assert status(target, replica_set("n", 2, available=1))["Progressing"] == ("True", "ReplicaSetUpdated")
    assert status(target, replica_set("n", 2, available=2))["Progressing"] == ("True", "NewReplicaSetAvailable")
    assert status(deployment(0), replica_set("n", 0))["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_progress_that_stops_times_out_after_the_deadline() -> None:
    def target() -> Deployment:
        found = deployment(2, spec={"progressDeadlineSeconds": 30})
        return with_progress(found, "ReplicaSetUpdated", replicas=2, updated_replicas=2)

    new = replica_set("n", 2)
    assert status(target(), new, now_s=NOW_S + 29)["Progressing"] == ("True", "ReplicaSetUpdated")
    assert status(target(), new, now_s=NOW_S + 30)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    found = deployment_status(target(), new, [], NOW_S + 10)
    assert progress_due_s(target(), found, NOW_S + 10) == pytest.approx(20.1)


def test_the_deadline_is_ten_minutes_unless_said_otherwise() -> None:
    target = with_progress(deployment(2), "ReplicaSetUpdated", replicas=2, updated_replicas=2)
    assert status(target, replica_set("n", 2), now_s=NOW_S + 599)["Progressing"][0] == "True"
    assert status(target, replica_set("n", 2), now_s=NOW_S + 600)["Progressing"][0] == "False"


def test_after_a_time_out_progress_counts_again() -> None:
    target = with_progress(deployment(2), "ProgressDeadlineExceeded", replicas=2, updated_replicas=2)
    assert status(target, replica_set("n", 2))["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert status(target, replica_set("n", 2, available=1))["Progressing"] == ("True", "ReplicaSetUpdated")


def test_scaling_a_complete_deployment_does_not_start_the_deadline() -> None:
    target = with_progress(
        deployment(5), "NewReplicaSetAvailable", updated_s=NOW_S - 9999, replicas=1, updated_replicas=1
    )
    new = replica_set("n", 5, available=1)
    assert status(target, new)["Progressing"] == ("True", "NewReplicaSetAvailable")
    assert progress_due_s(target, deployment_status(target, new, [], NOW_S), NOW_S) is None


def test_a_new_template_starts_it() -> None:
    target = with_progress(
        deployment(1), "NewReplicaSetAvailable", updated_s=NOW_S - 9999, replicas=1, updated_replicas=1
    )
    assert status(target, replica_set("n", 1), replica_set("o", 1, available=1))["Progressing"] == (
        "True",
        "NewReplicaSetCreated",
    )


def test_transition_times_change_with_the_status_only() -> None:
    target = with_progress(deployment(2), "NewReplicaSetCreated", replicas=2, updated_replicas=2)
    found = deployment_status(target, replica_set("n", 2, available=1), [], NOW_S + 5)
    progressing = next(c for c in found.conditions if c.type == "Progressing")
    assert progressing.last_transition_time == format_time(NOW_S - 100)
    assert progressing.last_update_time == format_time(NOW_S + 5)


def test_status_is_the_same_when_nothing_changed() -> None:
    target, new = deployment(2), replica_set("n", 2, available=2)
    target.status = deployment_status(target, new, [], NOW_S)
    again = deployment_status(target, new, [], NOW_S + 60)
    assert msgspec.json.encode(again) == msgspec.json.encode(target.status)


def test_a_set_that_cannot_create_pods_is_a_replica_failure() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    found = deployment_status(deployment(2), replica_set("n", 2, conditions=[failure]), [], NOW_S)
    condition = next(c for c in found.conditions if c.type == "ReplicaFailure")
    assert (condition.status, condition.reason, condition.message) == ("True", "FailedCreate", "quota")


def test_a_paused_deployment_says_so() -> None:
    target = deployment(2, spec={"paused": True})
    assert status(target, None)["Progressing"] == ("Unknown", "DeploymentPaused")
