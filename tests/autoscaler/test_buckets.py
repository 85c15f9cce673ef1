"""`autoscaler.buckets`: identities of holders, and buckets by ordinal."""

import pytest

from autoscaler.buckets import StatefulSet, holder_identity, holder_ip


def test_a_holder_is_named_by_pod_and_address() -> None:
    assert holder_identity("autoscaler-0", "10.0.0.1") == "autoscaler-0_10.0.0.1"


def test_in_a_stateful_set_a_bucket_is_the_address_of_its_replica() -> None:
    replica = StatefulSet(name="autoscaler", ordinal=1, service="peers", port=8080, protocol="ws")
    assert replica.buckets(2, "knative-serving", "cluster.local") == [
        "ws://autoscaler-0.peers.knative-serving.svc.cluster.local:8080",
        "ws://autoscaler-1.peers.knative-serving.svc.cluster.local:8080",
    ]


@pytest.mark.parametrize("identity", ["", "pod", "pod_", "pod_x..y", "pod_10.0.0.256", "pod_host.example"])
def test_a_holder_without_an_address_is_nobodys(identity: str) -> None:
    assert holder_ip(identity) == ""


def test_holders_have_addresses_of_either_kind() -> None:
    assert (holder_ip("pod_10.0.0.7"), holder_ip("pod_fd00::7")) == ("10.0.0.7", "fd00::7")
