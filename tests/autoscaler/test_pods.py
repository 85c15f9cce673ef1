"""`autoscaler.pods` where the golden vectors have nothing: what a kubelet should never say."""

import pytest

from autoscaler.pods import ReadyPod, ready_pods, split_by_age
from kube.models.core import Pod, PodStatus
from kube.models.meta import Condition, ObjectMeta


@pytest.mark.parametrize("start", ["yesterday", "2026-13-01T00:00:00Z", "2026-11-21"])
def test_a_pod_whose_start_cannot_be_read_counts_as_young(start: str) -> None:
    ready = [Condition(type="Ready", status="True")]
    status = PodStatus(phase="Running", pod_ip="10.0.0.1", start_time=start, conditions=ready)
    pods = ready_pods([Pod(metadata=ObjectMeta(name="p", namespace="default"), status=status)])
    assert pods == [ReadyPod("10.0.0.1", None)]
    assert split_by_age(pods, 1e10, 60) == ([], ["10.0.0.1"])
