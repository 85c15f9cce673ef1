"""How `knuv events` reaches Brokers and channels from outside of the stack."""

import json
from typing import Any

import pytest

from kube.errors import NotFound
from local_cluster.cli import Failure
from local_cluster.event_routes import StackResolver, url_of
from local_cluster.settings import StackInfo

STACK = StackInfo(1, 8080, "https://127.0.0.1:1", "", brokers_host="broker-ingress.knative-eventing.example")
INGRESS = "http://broker-ingress.knative-eventing.svc.cluster.local/ns/default"
CHANNEL = "http://c-kn-channel.ns.svc.cluster.local"


class Cluster:
    """Services whose pods have one address."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        return [(self.address, port)]

    async def raw(self, method: str, path: str) -> bytes:
        if path.endswith("/none"):
            raise NotFound(404, "NotFound", "none")
        status = {} if path.endswith("/new") else {"address": {"url": INGRESS}}
        return json.dumps({"status": status}).encode()


def resolver(address: str, stack: StackInfo | None = STACK) -> StackResolver:
    client: Any = None
    made = StackResolver(client, stack)
    made._resolver = Cluster(address)  # type: ignore[assignment]
    return made


async def test_pods_on_this_machine_are_reached_as_they_are() -> None:
    assert await resolver("127.1.2.3").reachable(INGRESS) == INGRESS
    assert await resolver("127.1.2.3").reachable(CHANNEL) == CHANNEL
    assert await resolver("10.0.0.1").reachable("http://example.org/x") == "http://example.org/x"


async def test_brokers_in_networks_of_their_own_are_reached_by_the_gateway_and_channels_are_not() -> None:
    found = resolver("10.0.0.1")
    assert await found.reachable(INGRESS) == "http://broker-ingress.knative-eventing.example:8080/ns/default"
    assert await found.resolve(STACK.brokers_host, 8080) == [("127.0.0.1", 8080)]
    with pytest.raises(Failure, match="only Brokers"):
        await found.reachable(CHANNEL)


async def test_targets_are_named_or_refused() -> None:
    client: Any = Cluster("")
    assert await url_of(client, "https://example.org/", "ns") == "https://example.org/"
    assert await url_of(client, "broker/default", "ns") == INGRESS
    for target, told in (
        ("broker/none", 'no broker "none" in namespace "ns"'),
        ("channel/new", "has no address yet"),
        ("default", "expected broker/NAME"),
        ("trigger/x", "expected broker/NAME"),
        ("broker/", "expected broker/NAME"),
    ):
        with pytest.raises(Failure, match=told):
            await url_of(client, target, "ns")
