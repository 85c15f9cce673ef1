"""The scenarios on the local stack: what each needs, and what locust is told. Each ends in less than two minutes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from loadtests.lab.cold_start import NAMESPACE, SHORTENED, manifest

__all__ = ["SCENARIOS", "SETTINGS", "Scenario", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One word of `make loadtest`."""

    about: str
    """One sentence."""
    file: str
    arguments: tuple[str, ...]
    services: int = 1
    command: tuple[str, ...] = ()
    """Of the app; empty: examples/hello.py."""
    port_name: str = ""
    target: int = 10
    """Concurrent requests for each pod; the autoscaler aims at 70 % of it."""
    starts_at_zero: bool = True
    rolls_out: bool = False
    has_broker: bool = False


_APP: Final = (sys.executable, "-m", "loadtests.locust.app")
_GRPC_APP: Final = ("sh", "-c", f"exec {sys.executable} -m loadtests.lab.soak_queue_proxy_h2.app $PORT")

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "cold-start": Scenario(
        about="One request to each of 8 services without pods, one after the other.",
        file="cold_start.py",
        services=8,
        arguments=("--run-time", "120s"),
    ),
    "storm": Scenario(
        about="One request to each of 25 services without pods, all at the same moment.",
        file="cold_start.py",
        services=25,
        arguments=("--storm", "--run-time", "120s"),
    ),
    "burst": Scenario(
        about="300 users come within a second to a service without pods; each asks again when it has its answer.",
        file="burst.py",
        target=50,
        arguments=("--users", "300", "--run-time", "30s", "--path", "/?sleep=100"),
    ),
    "ramp": Scenario(
        about="Open arrivals at 100, 200 and 300 a second, 20 s each, to a service without pods.",
        file="ramp.py",
        arguments=("--rate", "100", "--run-time", "60s", "--path", "/?sleep=100"),
    ),
    "steady": Scenario(
        about="Open arrivals at 50 a second; after half of the time the service gets a new revision.",
        file="steady.py",
        arguments=("--rate", "50", "--run-time", "30s", "--path", "/?sleep=100"),
        starts_at_zero=False,
        rolls_out=True,
    ),
    "trickle": Scenario(
        about="Open arrivals at 50 a second for 15 s, then one every two seconds while the pods go away.",
        file="trickle.py",
        arguments=("--rate", "50", "--run-time", "60s", "--path", "/?sleep=500"),
    ),
    "grpc": Scenario(
        about="5 callers over HTTP/2, each with unary calls and now and then a stream of 100 messages.",
        file="grpc_calls.py",
        arguments=("--users", "5", "--spawn-rate", "5", "--run-time", "20s"),
        command=_GRPC_APP,
        port_name="h2c",
    ),
    "websocket": Scenario(
        about="10 users in conversations of 20 messages over WebSockets, each message echoed.",
        file="websocket.py",
        arguments=("--users", "10", "--spawn-rate", "10", "--run-time", "20s", "--path", "/echo"),
        command=_APP,
    ),
    "sse": Scenario(
        about="20 listeners to event streams with ten events a second.",
        file="sse.py",
        arguments=("--users", "20", "--spawn-rate", "20", "--run-time", "20s", "--path", "/events"),
        command=_APP,
    ),
    "events": Scenario(
        about="Events of 1 KB to a Broker, open arrivals at 50 a second, with a Trigger whose subscriber has no pods.",
        file="cloud_events.py",
        arguments=("--rate", "50", "--run-time", "20s", "--path", f"/{NAMESPACE}/default"),
        command=_APP,
        has_broker=True,
    ),
}

SETTINGS: Final[Mapping[str, str]] = SHORTENED
"""Of the autoscaler, so that nobody waits a minute for pods to go away."""


def service(name: str, scenario: Scenario) -> dict[str, Any]:
    """The manifest of one of its services."""
    made = manifest(name)
    template = made["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    annotations["autoscaling.knative.dev/target"] = str(scenario.target)
    if not scenario.starts_at_zero:
        annotations["autoscaling.knative.dev/min-scale"] = "1"
    # On a machine that has much else to do, a storm's last pods take longer than the cold-start benchmark allows.
    template["spec"]["timeoutSeconds"] = 60
    container = template["spec"]["containers"][0]
    if scenario.command:
        container["command"] = list(scenario.command)
    if scenario.port_name:
        container["ports"] = [{"name": scenario.port_name, "containerPort": 8080}]
    return made
