"""`autoscaler.buckets`: identities of holders, and buckets by ordinal."""

import pytest

from autoscaler.buckets import StatefulSet, holder_identity, holder_ip


def test_a_holder_is_named_by_pod_and_address() -> None:
    assert holder_identity("autoscaler-0", "10.0.0.1") == "autoscaler-0_10.0.0.1"


@pytest.mark.parametrize(
    ("identity", "ip"),
    [("pod_10.0.0.1", "10.0.0.1"), ("pod_fd00::1", "fd00::1"), ("a_b_c", "b_c"), ("nobody", ""), ("", "")],
)
def test_the_address_stands_behind_the_first_underscore(identity: str, ip: str) -> None:
    assert holder_ip(identity) == ip


def test_in_a_stateful_set_a_bucket_is_the_address_of_its_replica() -> None:
    replica = StatefulSet(name="autoscaler", ordinal=1, service="peers", port=8080, protocol="ws")
    assert replica.buckets(2, "knative-serving", "cluster.local") == [
        "ws://autoscaler-0.peers.knative-serving.svc.cluster.local:8080",
        "ws://autoscaler-1.peers.knative-serving.svc.cluster.local:8080",
    ]
