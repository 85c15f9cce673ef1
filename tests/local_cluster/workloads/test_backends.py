"""`local_cluster/workloads/backends.py`."""

from typing import Any

import msgspec

from kube.models.core import Endpoints, Pod, Service
from local_cluster.workloads.backends import (
    endpoint_subsets,
    is_selected,
    mirrored_contents,
    service_backends,
    slice_contents,
)
from tests.local_cluster.workloads.objects import pod, service


def subsets(target: Service, *pods: Pod) -> list[Any]:
    return [
        (
            [address.ip for address in subset.addresses],
            [address.ip for address in subset.not_ready_addresses],
            [(port.name, port.port) for port in subset.ports],
        )
        for subset in endpoint_subsets(target, service_backends(target, pods))
    ]


def test_selection_needs_every_pair_and_a_selector() -> None:
    assert is_selected(service(), {"app": "web", "more": "x"})
    assert not is_selected(service(selector={"app": "web", "tier": "a"}), {"app": "web"})
    assert not is_selected(service(selector={}), {"app": "web"})


def test_ready_and_not_ready_pods_share_a_subset() -> None:
    assert subsets(service(), pod("b", "127.80.1.2"), pod("a", "127.80.1.1"), pod("c", "127.80.1.3", ready=False)) == [
        (["127.80.1.1", "127.80.1.2"], ["127.80.1.3"], [("http", 8080)])
    ]


def test_pods_without_address_of_other_labels_or_ended_are_left_out() -> None:
    assert subsets(service(), pod("a", ""), pod("b", labels={"app": "x"}), pod("c", phase="Failed")) == []


def test_a_terminating_pod_leaves_endpoints_and_stays_in_slices() -> None:
    leaving = pod("a", deleted=True)
    assert subsets(service(), leaving) == []
    (content,) = slice_contents(service(), service_backends(service(), [leaving]))
    conditions = content.endpoints[0].conditions
    assert (conditions.ready, conditions.serving, conditions.terminating) == (False, True, True)


def test_a_service_may_publish_pods_that_are_not_ready() -> None:
    target = service(publishNotReadyAddresses=True)
    assert subsets(target, pod("a", ready=False)) == [(["127.80.1.1"], [], [("http", 8080)])]


def test_named_target_ports_are_found_in_the_pod_and_may_differ() -> None:
    target = service({"name": "http", "port": 80, "targetPort": "web"})
    old = pod("old", "127.80.1.1", ports=[{"name": "web", "containerPort": 8080}])
    new = pod("new", "127.80.1.2", ports=[{"name": "web", "containerPort": 9090}])
    without = pod("none", "127.80.1.3")
    assert subsets(target, old, new, without) == [
        (["127.80.1.1"], [], [("http", 8080)]),
        (["127.80.1.2"], [], [("http", 9090)]),
    ]
    assert len(slice_contents(target, service_backends(target, [old, new, without]))) == 2


def test_a_port_without_target_leads_to_itself() -> None:
    assert subsets(service({"name": "x", "port": 81}), pod("a"))[0][2] == [("x", 81)]
    assert subsets(service({"name": "x", "port": 81, "targetPort": "8012"}), pod("a"))[0][2] == [("x", 8012)]


def test_the_pod_behind_an_address_is_named() -> None:
    (subset,) = endpoint_subsets(service(), service_backends(service(), [pod("a")]))
    address = subset.addresses[0]
    assert address.node_name == "local"
    assert address.target_ref is not None
    assert (address.target_ref.kind, address.target_ref.name, address.target_ref.uid) == ("Pod", "a", "a-uid")


def test_a_slice_holds_at_most_100_endpoints() -> None:
    pods = [pod(f"p{index}", f"127.80.{index // 200 + 1}.{index % 200 + 1}") for index in range(250)]
    contents = slice_contents(service(), service_backends(service(), pods))
    assert [len(content.endpoints) for content in contents] == [100, 100, 50]


def test_endpoints_of_others_are_mirrored_with_their_readiness() -> None:
    endpoints = msgspec.convert(
        {
            "metadata": {"name": "s"},
            "subsets": [
                {
                    "addresses": [{"ip": "127.80.0.2"}],
                    "notReadyAddresses": [{"ip": "127.80.0.3", "targetRef": {"kind": "Pod", "name": "p"}}],
                    "ports": [{"name": "http", "port": 8012}],
                },
                {"ports": [{"name": "empty", "port": 1}]},
            ],
        },
        Endpoints,
    )
    (content,) = mirrored_contents(endpoints)
    assert [(e.addresses, e.conditions.ready) for e in content.endpoints] == [
        (["127.80.0.2"], True),
        (["127.80.0.3"], False),
    ]
    assert content.endpoints[1].target_ref is not None
    assert content.ports[0].port == 8012
