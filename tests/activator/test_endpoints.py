"""What is read from a revision's objects."""

from typing import Any

import msgspec
import pytest

from activator.endpoints import (
    activators_changed,
    addresses_of,
    cluster_address_of,
    join_address,
    port_name_of,
    private_service_name,
    split_address,
    trusts_not_ready,
)
from activator.objects import Address, Endpoints, Port, Revision, Service, ServiceSpec, Subset
from activator.throttler import Snapshot


def subset(*ready: str, not_ready: tuple[str, ...] = (), ports: dict[str, int]) -> Subset:
    return Subset(
        addresses=tuple(Address(ip=ip) for ip in ready),
        not_ready_addresses=tuple(Address(ip=ip) for ip in not_ready),
        ports=tuple(Port(name=name, port=port) for name, port in ports.items()),
    )


def revision(containers: list[dict[str, Any]]) -> Revision:
    return msgspec.convert({"spec": {"containers": containers}}, Revision)


def test_addresses_come_from_the_subsets_that_have_the_port() -> None:
    endpoints = Endpoints(
        subsets=(
            subset("10.0.0.1", "fd00::1", not_ready=("10.0.0.2",), ports={"http-autometric": 9090, "http": 8012}),
            subset("10.0.0.3", ports={"http2": 8013}),
            subset(not_ready=("10.0.0.1",), ports={"http": 8012}),
        )
    )
    found = addresses_of(endpoints, "http")
    assert found.ready == {"10.0.0.1:8012", "[fd00::1]:8012"}
    assert found.not_ready == {"10.0.0.2:8012"}
    assert addresses_of(endpoints, "http2").ready == {"10.0.0.3:8013"}
    assert addresses_of(None, "http") == (frozenset(), frozenset())


def test_an_activator_that_is_not_listed_keeps_its_share() -> None:
    snapshot = Snapshot(container_concurrency=1)
    snapshot = activators_changed(snapshot, ["10.0.0.9", "10.0.0.10"], "10.0.0.9")
    # As texts 10.0.0.10 comes first.
    assert (snapshot.activator_index, snapshot.activator_count) == (1, 2)
    assert activators_changed(snapshot, ["10.0.0.10"], "10.0.0.9") is snapshot


@pytest.mark.parametrize(
    ("cluster_ip", "port_name", "expected"),
    [("10.1.0.1", "http", "10.1.0.1:80"), ("None", "http", ""), ("", "http", ""), ("10.1.0.1", "http2", "")],
)
def test_the_cluster_address_needs_an_address_and_the_port(cluster_ip: str, port_name: str, expected: str) -> None:
    service = Service(spec=ServiceSpec(cluster_ip=cluster_ip, ports=(Port(name="http", port=80),)))
    assert cluster_address_of(service, port_name) == expected


def test_no_service_no_cluster_address() -> None:
    assert cluster_address_of(None, "http") == ""


EXEC: dict[str, Any] = {"exec": {"command": ["true"]}}
HTTP: dict[str, Any] = {"httpGet": {"path": "/"}}


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([], True),
        ([{}], True),
        ([{"readinessProbe": HTTP}], True),
        ([{"readinessProbe": EXEC}], False),
        ([{"ports": [{}], "readinessProbe": HTTP}, {"readinessProbe": EXEC}], True),
        ([{"ports": [{}]}, {"startupProbe": HTTP}], False),
    ],
)
def test_checks_that_only_the_kubelet_makes_take_the_trust_away(
    containers: list[dict[str, Any]], expected: bool
) -> None:
    assert trusts_not_ready(revision(containers)) is expected


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([], "http"),
        ([{}, {"ports": [{"containerPort": 8080}]}], "http"),
        ([{"image": "sidecar"}, {"ports": [{"name": "h2c", "containerPort": 8080}]}], "http2"),
        ([{"ports": [{"name": "http1"}]}, {"ports": [{"name": "h2c"}]}], "http"),
    ],
)
def test_the_port_of_pods_follows_from_the_name_of_the_containers_port(
    containers: list[dict[str, Any]], expected: str
) -> None:
    assert port_name_of(revision(containers)) == expected


def test_long_names_are_shortened_as_the_controller_does() -> None:
    assert private_service_name("rev") == "rev-private"
    assert len(private_service_name("r" * 60)) == 63


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1"])
def test_addresses_are_split_as_they_were_joined(host: str) -> None:
    assert split_address(join_address(host, 80)) == (host, 80)
