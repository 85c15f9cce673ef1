"""`queue_proxy/request_metrics.py` and `metric_names.py`: which series an exchange is told in, and what bounds them."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from proxies.bodies import LengthBody
from proxies.exchange import Exchange, Outcome
from proxies.http1 import parse_request
from proxies.metrics.instruments import Attributes, Distribution, Registry
from queue_proxy import request_metrics
from queue_proxy.metric_names import SERIES_MAX, OpenCensusNames, OpenTelemetryNames
from queue_proxy.request_metrics import RequestMetrics

LABELS = {"namespace_name": "ns", "revision_name": "r"}
ARRIVED_S, FORWARDED_S, RESPONDED_S, ENDED_S = 100.0, 100.5, 101.0, 102.0


@dataclass
class World:
    """Metrics whose breaker had `depth` exchanges in it."""

    depth: int = 0

    def __post_init__(self) -> None:
        self.registry = Registry()
        self.metrics = RequestMetrics(
            self.registry,
            [
                OpenTelemetryNames(self.registry, user_port="8080", queue_depth=lambda: self.depth),
                OpenCensusNames(self.registry, labels=LABELS, queue_depth=lambda: self.depth),
            ],
        )

    def series(self, name: str) -> list[tuple[Attributes, float]]:
        """(attributes, number of measurements or value) of an instrument."""
        self.registry.collect()
        return [
            (series.attributes, series.count if isinstance(series, Distribution) else series.value)
            for series in self._all(name)
        ]

    def total(self, name: str) -> float:
        self.registry.collect()
        return sum(series.total for series in self._all(name) if isinstance(series, Distribution))

    def statuses(self, name: str) -> list[object]:
        return [
            attributes.get("http.response.status_code", attributes.get("error.type"))
            for attributes, _ in self.series(name)
        ]

    def _all(self, name: str) -> Iterator[object]:
        for scope in self.registry.scopes:
            for instrument in scope.instruments:
                if instrument.name == name:
                    yield from instrument.all_series()


def exchange(
    *headers: str,
    method: str = "GET",
    host: str = "app.example",
    status: int = 200,
    outcome: Outcome = Outcome.COMPLETE,
    forwarded: bool = True,
    responded: bool = True,
    request_bytes: int = 0,
    response_bytes: int = 0,
    version: str = "1.1",
) -> Exchange:
    """An exchange as it is when it has ended."""
    ended = Exchange.__new__(Exchange)
    ended.request = parse_request("\r\n".join([f"{method} / HTTP/{version}", f"Host: {host}", *headers]).encode())
    ended.arrived_s = ARRIVED_S
    ended.forwarded_s = FORWARDED_S if forwarded else 0.0
    ended.responded_s = RESPONDED_S if responded else 0.0
    ended.status, ended.outcome = status, outcome
    ended.request_body = LengthBody(request_bytes)
    ended.request_body.scan(b"x" * request_bytes)
    ended.response_body, ended._response_bytes = None, response_bytes
    return ended


SERVER = {
    "http.request.method": "GET",
    "url.scheme": "http",
    "server.address": "app.example",
    "network.protocol.name": "http",
    "network.protocol.version": "1.1",
    "http.response.status_code": 200,
    "kn.route.tag": "kn:disabled",
}


def test_a_complete_exchange_is_told_everywhere() -> None:
    world = World()
    world.metrics.ended(exchange(method="POST", status=201, request_bytes=7, response_bytes=9), ENDED_S)
    server = {**SERVER, "http.request.method": "POST", "http.response.status_code": 201}
    client = {**server, "server.address": "127.0.0.1", "server.port": 8080}
    for name, attributes, total in (
        ("http.server.request.duration", server, 2.0),
        ("http.server.request.body.size", server, 7),
        ("http.server.response.body.size", server, 9),
        ("http.client.request.duration", client, 0.5),
        ("http.client.request.body.size", client, 7),
        ("kn.serving.invocation.duration", {"http.response.status_code": 201}, 1.5),
    ):
        assert world.series(name) == [(attributes, 1)], name
        assert world.total(name) == total, name


def test_the_names_of_before_are_told_in_milliseconds_with_the_pod_in_each() -> None:
    world = World()
    world.metrics.ended(exchange(status=404), ENDED_S + 0.0009)
    labels = {**LABELS, "response_code": "404", "response_code_class": "4xx"}
    assert world.series("revision_request_count") == [({**labels, "route_tag": "DISABLED"}, 1)]
    assert world.series("revision_request_latencies") == [({**labels, "route_tag": "DISABLED"}, 1)]
    assert world.series("revision_app_request_count") == [(labels, 1)]
    assert world.series("revision_app_request_latencies") == [(labels, 1)]
    assert world.total("revision_request_latencies") == 2000
    assert world.total("revision_app_request_latencies") == 1500


@pytest.mark.parametrize(
    ("how", "server", "invocation", "client"),
    [
        ({}, [200], [200], [200]),
        ({"status": 503, "outcome": Outcome.ANSWERED, "forwarded": False, "responded": False}, [503], [], []),
        ({"status": 502, "outcome": Outcome.UNREACHABLE, "responded": False}, [502], [502], ["unreachable"]),
        ({"status": 0, "outcome": Outcome.CLIENT_GONE, "forwarded": False, "responded": False}, [500], [], []),
        ({"status": 0, "outcome": Outcome.CLIENT_GONE, "responded": False}, [200], [200], ["client-gone"]),
        ({"outcome": Outcome.CLIENT_GONE}, [], [500], [200]),
        ({"status": 504, "outcome": Outcome.TIMED_OUT, "forwarded": False, "responded": False}, [504], [], []),
        ({"status": 504, "outcome": Outcome.TIMED_OUT, "responded": False}, [504], [200], ["timed-out"]),
        ({"outcome": Outcome.TIMED_OUT}, [200], [500], [200]),
        ({"outcome": Outcome.ABORTED}, [], [500], [200]),
        ({"status": 400, "outcome": Outcome.ABORTED, "responded": False}, [400], [400], ["aborted"]),
        ({"status": 101}, [101], [101], [101]),
        ({"status": 101, "responded": False}, [101], [101], [101]),
        ({"status": 101, "outcome": Outcome.TIMED_OUT}, [101], [101], [101]),
    ],
)
def test_how_an_exchange_ends_decides_what_is_told_of_it(
    how: dict[str, object], server: list[int], invocation: list[int], client: list[object]
) -> None:
    world = World()
    world.metrics.ended(exchange(**how), ENDED_S)  # type: ignore[arg-type]
    assert world.statuses("http.server.request.duration") == server
    assert world.statuses("kn.serving.invocation.duration") == invocation
    assert world.statuses("http.client.request.duration") == client
    assert [series[0]["response_code"] for series in world.series("revision_request_count")] == [
        str(status) for status in server or [500]
    ]
    assert len(world.series("revision_app_request_count")) == len(invocation)


def test_a_client_call_without_a_response_lasts_until_the_end() -> None:
    world = World()
    world.metrics.ended(exchange(status=502, outcome=Outcome.UNREACHABLE, responded=False), ENDED_S)
    assert world.total("http.client.request.duration") == 1.5


@pytest.mark.parametrize(
    ("headers", "tag", "old_tag"),
    [
        ((), "kn:disabled", "DISABLED"),
        (("Knative-Serving-Default-Route: true",), "kn:default", "DEFAULT"),
        (("Knative-Serving-Default-Route: true", "Knative-Serving-Tag: canary"), "kn:undefined", "UNDEFINED"),
        (("Knative-Serving-Tag: canary",), "canary", "canary"),
        (("K-Proxy-Request: activator",), "kn:disabled", "DISABLED"),
    ],
)
def test_the_route_tag_is_told(headers: tuple[str, ...], tag: str, old_tag: str) -> None:
    world = World()
    for _ in range(2):
        world.metrics.ended(exchange(*headers), ENDED_S)
    assert world.series("http.server.request.duration") == [({**SERVER, "kn.route.tag": tag}, 2)]
    assert world.series("http.client.request.duration")[0][0]["kn.route.tag"] == tag
    assert world.series("revision_request_count")[0][0]["route_tag"] == old_tag


def test_requests_that_differ_in_what_is_told_are_not_taken_for_each_other() -> None:
    world = World()
    timed_out = {"status": 504, "outcome": Outcome.TIMED_OUT}
    for one in (
        exchange(),
        exchange("Knative-Serving-Tag: canary"),
        exchange("Knative-Serving-Default-Route: true"),
        exchange("Knative-Serving-Default-Route: true", "Knative-Serving-Tag: canary"),
        exchange("K-Network-Probe: queue"),
        exchange(method="PUT"),
        exchange(version="1.0"),
        exchange(**timed_out),  # type: ignore[arg-type]
        exchange(**timed_out, responded=False),  # type: ignore[arg-type]
        exchange(**timed_out, responded=False, forwarded=False),  # type: ignore[arg-type]
    ):
        world.metrics.ended(one, ENDED_S)
    tags = [attributes["kn.route.tag"] for attributes, _ in world.series("http.server.request.duration")]
    assert sorted(tags) == ["canary", "kn:default", *["kn:disabled"] * 4, "kn:undefined"]
    assert sorted(world.series("kn.serving.invocation.duration"), key=str) == [
        ({"http.response.status_code": 200}, 7),
        ({"http.response.status_code": 500}, 1),
    ]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("app.example", {"server.address": "app.example"}),
        ("app.example:80", {"server.address": "app.example"}),
        ("app.example:8012", {"server.address": "app.example", "server.port": 8012}),
        ("[::1]:8012", {"server.address": "::1", "server.port": 8012}),
        ("[::1]", {"server.address": "::1"}),
    ],
)
def test_the_address_is_what_host_says(host: str, address: dict[str, object]) -> None:
    world = World()
    world.metrics.ended(exchange("K-Original-Host: other.example", host=host), ENDED_S)
    found = world.series("http.server.request.duration")[0][0]
    assert {key: value for key, value in found.items() if key.startswith("server.")} == address


@pytest.mark.parametrize(("method", "told"), [("get", "GET"), ("PATCH", "PATCH"), ("BREW", "_OTHER")])
def test_only_known_methods_are_told(method: str, told: str) -> None:
    world = World()
    world.metrics.ended(exchange(method=method), ENDED_S)
    assert world.series("http.server.request.duration")[0][0]["http.request.method"] == told


def test_the_version_is_the_clients_and_towards_the_app_ours() -> None:
    world = World()
    world.metrics.ended(exchange(version="1.0"), ENDED_S)
    assert world.series("http.server.request.duration")[0][0]["network.protocol.version"] == "1.0"
    assert world.series("http.client.request.duration")[0][0]["network.protocol.version"] == "1.1"


def test_whatever_carries_the_probe_header_is_not_measured() -> None:
    world = World()
    world.metrics.ended(exchange("K-Network-Probe: queue"), ENDED_S)
    world.metrics.probe_ended(exchange("User-Agent: kube-probe/1.34", "K-Network-Probe: queue"), ENDED_S)
    assert world.series("http.server.request.duration") == []
    assert world.series("kn.serving.invocation.duration") == []
    assert world.series("revision_request_count") == []
    world.metrics.ended(exchange(), ENDED_S)
    assert world.series("http.server.request.duration") == [(SERVER, 1)]


def test_the_queue_depth_is_told_from_the_first_admission_on() -> None:
    world = World(depth=0)
    assert world.series("kn.serving.queue.depth") == []
    world.depth = 3
    assert world.series("kn.serving.queue.depth") == [({}, 3)]
    assert world.series("revision_queue_depth") == [(LABELS, 3)]


# Bounds.


def test_requests_are_counted_before_anybody_reads_when_they_are_many() -> None:
    world = World()
    one = exchange()
    for _ in range(request_metrics._ROWS_MAX):
        world.metrics.ended(one, ENDED_S)
    assert world.metrics._rows == []
    assert world.series("http.server.request.duration") == [(SERVER, request_metrics._ROWS_MAX)]


def test_a_flood_of_hosts_is_counted_in_a_bounded_number_of_series() -> None:
    world = World()
    for number in range(3 * SERIES_MAX):
        world.metrics.ended(exchange(host=f"host{number}"), ENDED_S)
    series = world.series("http.server.request.duration")
    assert len(series) == SERIES_MAX
    assert series[-1] == ({"otel.metric.overflow": True}, 2 * SERIES_MAX + 1)
    assert len(world.metrics._classes) <= request_metrics._CLASSES_MAX
    world.metrics.ended(exchange(host="host0"), ENDED_S)
    assert world.series("http.server.request.duration")[0][1] == 2


def test_a_clients_long_words_are_not_kept() -> None:
    world = World()
    long = "x" * 10_000
    world.metrics.ended(exchange(host=long), ENDED_S)
    world.metrics.ended(exchange(f"Knative-Serving-Tag: {long}", host=long, method=long), ENDED_S)
    for attributes, _ in world.series("http.server.request.duration"):
        assert max(len(str(value)) for value in attributes.values()) == request_metrics.TEXT_MAX
    for key in world.metrics._classes:
        assert max(len(part) for part in key if isinstance(part, bytes)) == request_metrics.TEXT_MAX  # type: ignore[attr-defined]
