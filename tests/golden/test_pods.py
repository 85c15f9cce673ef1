"""Replays `pods`: counting a revision's pods by state and age."""

from typing import Any

from autoscaler.pods import count_pods, ready_pods, split_by_age
from kube.models.core import Pod, PodStatus
from kube.models.meta import Condition, ObjectMeta
from kube.timestamps import format_time
from tests.golden.replay import Golden, same

NOW_S = 1_785_542_400.0


def test_pods(golden: Golden) -> None:
    with golden("pods") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    pods = [pod_of(described) for described in case["pods"]]
    want = case["expect"]
    older, younger = split_by_age(ready_pods(pods), NOW_S, case["cutoff_s"])
    counts = count_pods(pods)._asdict()
    same(counts, {key: want[key] for key in counts}, "counts")
    same(sorted(older), sorted(want["older"]), "older")
    same(sorted(younger), sorted(want["younger"]), "younger")


def pod_of(described: dict[str, Any]) -> Pod:
    condition = described["ready_condition"]
    return Pod(
        metadata=ObjectMeta(deletion_timestamp=format_time(NOW_S) if described["terminating"] else None),
        status=PodStatus(
            phase=described["phase"],
            conditions=[] if condition == "none" else [Condition(type="Ready", status=condition)],
            pod_ip=described["ip"],
            start_time=format_time(NOW_S - described["age_s"]),
        ),
    )
