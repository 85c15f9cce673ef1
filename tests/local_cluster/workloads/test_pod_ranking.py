"""`local_cluster/workloads/pod_ranking.py`."""

import pytest

from local_cluster.workloads.pod_ranking import available_after_s, is_active, to_delete
from tests.local_cluster.workloads.objects import pod

EARLIER, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z"
LATER_S = 1_767_226_200.0


@pytest.mark.parametrize(
    ("kept", "deleted"),
    [
        (pod("kept"), pod("deleted", node="")),
        (pod("kept"), pod("deleted", phase="Pending", ready=False)),
        (pod("kept"), pod("deleted", ready=False)),
        (pod("kept"), pod("deleted", annotations={"controller.kubernetes.io/pod-deletion-cost": "-5"})),
        (pod("kept", annotations={"controller.kubernetes.io/pod-deletion-cost": "x"}), pod("deleted", restarts=1)),
        (pod("kept", since=EARLIER), pod("deleted", since=LATER)),
        (pod("kept"), pod("deleted", restarts=2)),
        (pod("kept", created=EARLIER), pod("deleted", created=LATER)),
        (pod("kept", restarts=9), pod("deleted", ready=False)),
    ],
)
def test_who_is_missed_least_goes_first(kept: object, deleted: object) -> None:
    assert [victim.name for victim in to_delete([kept, deleted], 1)] == ["deleted"]  # type: ignore[list-item]
    assert [victim.name for victim in to_delete([deleted, kept], 1)] == ["deleted"]  # type: ignore[list-item]


def test_ended_and_leaving_pods_do_not_count() -> None:
    assert is_active(pod("p"))
    assert not is_active(pod("p", phase="Failed"))
    assert not is_active(pod("p", phase="Succeeded"))
    assert not is_active(pod("p", deleted=True))


def test_a_pod_is_available_when_it_was_ready_long_enough() -> None:
    assert available_after_s(pod("p"), 0, LATER_S) == 0
    assert available_after_s(pod("p", since=LATER), 30, LATER_S + 10) == 20
    assert available_after_s(pod("p", since=LATER), 30, LATER_S + 30) == 0
    assert available_after_s(pod("p", ready=False), 0, LATER_S) is None
