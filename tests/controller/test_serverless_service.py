"""What stands behind a Revision's public Service (autoscaler statements 73-86)."""

from typing import Any

import pytest

from controller import serverless_service
from kube.models.core import EndpointAddress, EndpointPort, EndpointSubset
from kube.models.meta import ObjectMeta
from kube.models.networking import ServerlessService, ServerlessServiceSpec

Json = dict[str, Any]
PORTS = [EndpointPort(name="http", port=8012), EndpointPort(name="http-autometric", port=9090)]


def sks(mode: str = "Serve", *, activators: int = 2, protocol: str = "http1", name: str = "web-1") -> ServerlessService:
    return ServerlessService(
        metadata=ObjectMeta(name=name, namespace="shop", uid="uid-s", labels={"a": "b"}, annotations={"c": "d"}),
        spec=ServerlessServiceSpec(mode=mode, num_activators=activators, protocol_type=protocol),
    )


def subset(*ips: str, unready: tuple[str, ...] = (), ports: list[EndpointPort] | None = None) -> EndpointSubset:
    return EndpointSubset(
        addresses=[EndpointAddress(ip=ip) for ip in ips],
        not_ready_addresses=[EndpointAddress(ip=ip) for ip in unready],
        ports=PORTS if ports is None else ports,
    )


def chosen(mode: str, private: list[EndpointSubset], behind: list[EndpointSubset], *, activators: int = 2) -> list[str]:
    found = serverless_service.public_subsets(sks(mode, activators=activators), private, behind)
    return [address.ip for each in found for address in each.addresses]


PODS, ACTIVATORS = [subset("10.0.0.1")], [subset("10.9.0.1")]


@pytest.mark.parametrize(
    ("mode", "private", "activators", "ips"),
    [
        ("Serve", PODS, ACTIVATORS, ["10.0.0.1"]),
        ("Proxy", PODS, ACTIVATORS, ["10.9.0.1"]),
        ("Serve", [], ACTIVATORS, ["10.9.0.1"]),
        ("Serve", [subset(unready=("10.0.0.1",))], ACTIVATORS, ["10.9.0.1"]),
        ("Proxy", PODS, [], ["10.0.0.1"]),
        ("Proxy", PODS, [subset(unready=("10.9.0.1",))], ["10.0.0.1"]),
        ("Proxy", [], [], []),
        ("Proxy", [], [subset(unready=("10.9.0.1",))], ["10.9.0.1"]),
        ("Serve", [subset(unready=("10.0.0.1",))], [subset(unready=("10.9.0.1",))], ["10.9.0.1"]),
    ],
)
def test_pods_or_activators(
    mode: str, private: list[EndpointSubset], activators: list[EndpointSubset], ips: list[str]
) -> None:
    assert chosen(mode, private, activators) == ips


def test_only_the_ports_of_requests_are_public() -> None:
    found = serverless_service.public_subsets(sks(), PODS, ACTIVATORS)
    assert [port.port for port in found[0].ports] == [8012]
    tls = [subset("10.0.0.1", ports=[EndpointPort(port=8112), EndpointPort(port=8013), EndpointPort(port=8012)])]
    found = serverless_service.public_subsets(sks(protocol="h2c"), tls, ACTIVATORS)
    assert [port.port for port in found[0].ports] == [8112, 8013]
    other = [subset("10.0.0.1", ports=[EndpointPort(port=9090)])]
    assert serverless_service.public_subsets(sks(), other, ACTIVATORS) == []


def test_some_activators_belong_to_a_revision_and_stay_the_same() -> None:
    many = [subset(*(f"10.9.0.{index}" for index in range(1, 11)))]
    first = chosen("Proxy", PODS, many, activators=3)
    assert len(first) == 3
    assert chosen("Proxy", PODS, many, activators=3) == first
    assert first == sorted(first, key=lambda ip: int(ip.rpartition(".")[2]))
    assert len(chosen("Proxy", PODS, many, activators=0)) == 10
    assert len(chosen("Proxy", PODS, many, activators=10)) == 10


def test_s73_a_long_name_is_shortened() -> None:
    name = serverless_service.private_name(sks(name="f" * 63))
    assert name == "fffffffffffffffffffffff105d7597f637e83cc711605ac3ea4957-private"


def test_ports_of_the_private_service() -> None:
    made = serverless_service.private_service(sks(), {"serving.knative.dev/revisionUID": "u"})
    assert [(port["name"], port["port"], port["targetPort"]) for port in made["spec"]["ports"]] == [
        ("http", 80, 8012),
        ("https", 443, 8112),
        ("http-autometric", 9090, "http-autometric"),
        ("http-usermetric", 9091, "http-usermetric"),
        ("http-istio", 8012, 8012),
    ]
    assert made["spec"]["selector"] == {"serving.knative.dev/revisionUID": "u"}
    assert made["metadata"]["labels"] == {
        "a": "b",
        "networking.internal.knative.dev/serverlessservice": "web-1",
        "networking.internal.knative.dev/serviceType": "Private",
    }


def test_h2c_is_told_on_the_first_port_and_public_at_81() -> None:
    private = serverless_service.private_service(sks(protocol="h2c"), {})["spec"]["ports"]
    public = serverless_service.public_service(sks(protocol="h2c"))["spec"]["ports"]
    assert (private[0]["name"], private[0]["port"], private[0]["targetPort"]) == ("http2", 80, 8013)
    assert (public[0]["name"], public[0]["port"], public[0]["targetPort"]) == ("http2", 81, 8013)
    assert public[0]["appProtocol"] == "kubernetes.io/h2c"
    assert all("appProtocol" not in port for port in (*private[1:], *public[1:]))


def test_the_public_service_selects_nothing() -> None:
    made = serverless_service.public_service(sks())
    assert "selector" not in made["spec"]
    assert made["metadata"]["ownerReferences"][0]["kind"] == "ServerlessService"
