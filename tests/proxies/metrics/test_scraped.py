"""`proxies/metrics/scraped.py`: where it listens, and scrapes that take long. What it answers is otherwise in
`conformance/queue_proxy/test_metrics.py`."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from proxies.environment import Environment
from proxies.metrics.instruments import Number, Registry
from proxies.metrics.scraped import Listener, ScrapedPort, Tls, listener_of
from tests.support.http import fetch
from tests.support.processes import eventually

TLS = {"METRICS_PROMETHEUS_TLS_CERT": "/c", "METRICS_PROMETHEUS_TLS_KEY": "/k"}


def read(endpoint: str = "", **variables: str) -> Listener:
    env = Environment(variables)
    listener = listener_of(env, endpoint, endpoint_from="SETTINGS", default_port=9091)
    env.finish()
    return listener


def problem_of(endpoint: str = "", **variables: str) -> str:
    env = Environment(variables)
    listener_of(env, endpoint, endpoint_from="SETTINGS", default_port=9091)
    (problem,) = env.problems
    return problem


@pytest.mark.parametrize(
    ("endpoint", "variables", "want"),
    [
        ("", {}, Listener("", 9091)),
        (":9095", {}, Listener("", 9095)),
        ("10.0.0.1:9095", {}, Listener("10.0.0.1", 9095)),
        ("[::1]:9095", {}, Listener("::1", 9095)),
        ("", {"METRICS_PROMETHEUS_PORT": "9999"}, Listener("", 9999)),
        ("10.0.0.1:1", {"METRICS_PROMETHEUS_PORT": "9999"}, Listener("10.0.0.1", 9999)),
        ("10.0.0.1:9095", {"METRICS_PROMETHEUS_HOST": "10.0.0.2"}, Listener("10.0.0.2", 9095)),
        ("", {"METRICS_PROMETHEUS_PORT": "", "METRICS_PROMETHEUS_HOST": ""}, Listener("", 9091)),
    ],
)
def test_the_environment_overrides_the_endpoint_part_by_part(
    endpoint: str, variables: dict[str, str], want: Listener
) -> None:
    assert read(endpoint, **variables) == want


@pytest.mark.parametrize("port", ["80", "1023", "65536", "x", "-1", "٩٠٩٠"])
def test_a_port_that_cannot_be_is_named_with_where_it_stands(port: str) -> None:
    assert problem_of(METRICS_PROMETHEUS_PORT=port).startswith("METRICS_PROMETHEUS_PORT: expected a port")
    assert problem_of(f":{port}").startswith("SETTINGS: expected a port")


def test_tls_is_on_with_a_certificate_and_its_key() -> None:
    assert read(**TLS).tls == Tls("/c", "/k")
    everything = {
        **TLS,
        "METRICS_PROMETHEUS_TLS_CLIENT_AUTH": " Require ",
        "METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE": "/ca",
        "METRICS_PROMETHEUS_TLS_MIN_VERSION": "1.2",
    }
    assert read(**everything).tls == Tls("/c", "/k", "require", "/ca", "1.2", "1.3")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"METRICS_PROMETHEUS_TLS_CERT": "/c"}, "METRICS_PROMETHEUS_TLS_CERT and METRICS_PROMETHEUS_TLS_KEY"),
        ({"METRICS_PROMETHEUS_TLS_CLIENT_AUTH": "optional"}, "METRICS_PROMETHEUS_TLS_CLIENT_AUTH"),
        ({"METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE": "/ca"}, "METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE"),
        ({**TLS, "METRICS_PROMETHEUS_TLS_CLIENT_AUTH": "maybe"}, "METRICS_PROMETHEUS_TLS_CLIENT_AUTH='maybe'"),
        ({**TLS, "METRICS_PROMETHEUS_TLS_CLIENT_AUTH": "require"}, "METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE: expected"),
        ({**TLS, "METRICS_PROMETHEUS_TLS_MIN_VERSION": "1.1"}, "METRICS_PROMETHEUS_TLS_MIN_VERSION='1.1'"),
        (
            {**TLS, "METRICS_PROMETHEUS_TLS_MIN_VERSION": "1.3", "METRICS_PROMETHEUS_TLS_MAX_VERSION": "1.2"},
            "METRICS_PROMETHEUS_TLS_MIN_VERSION",
        ),
        ({**TLS, "METRICS_PROMETHEUS_TLS_CIPHER_SUITES": "X"}, "METRICS_PROMETHEUS_TLS_CIPHER_SUITES"),
        ({**TLS, "METRICS_PROMETHEUS_TLS_CURVE_PREFERENCES": "X"}, "METRICS_PROMETHEUS_TLS_CURVE_PREFERENCES"),
    ],
)
def test_tls_that_cannot_be_is_refused(variables: dict[str, str], named: str) -> None:
    assert named in problem_of(**variables)


async def test_scrapers_that_come_together_are_given_the_same_and_one_that_leaves_is_not_missed() -> None:
    loop = asyncio.get_running_loop()
    readings: list[float] = []
    registry = Registry()
    registry.before_collection(lambda: readings.append(loop.time()))
    writing, going_on = asyncio.Event(), asyncio.Event()

    def series() -> Iterator[Number]:
        """More than one slice: it ends when it may."""
        number = Number({"of": "many"})
        while not going_on.is_set():
            writing.set()
            yield number

    registry.scope("scope").gauge("much").stream(series)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    port = ScrapedPort(loop, registry, Listener(*address))
    await port.start()
    try:
        _, leaving = await asyncio.open_connection(*address)
        leaving.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await writing.wait()
        others = [asyncio.ensure_future(fetch(address[0], address[1], "/metrics")) for _ in range(3)]
        leaving.transport.abort()
        await eventually(lambda: port._server.in_flight == 3)
        going_on.set()
        answers = await asyncio.gather(*others)
    finally:
        await port.stop()
    assert len(readings) == 1
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
