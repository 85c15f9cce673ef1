"""Statements 8 to 29: who asks whether the pod is ready, and what they are told."""

import asyncio
import json
import socket
import time

import pytest

from tests.support.http import Call, running_app
from tests.support.processes import LATE_S, eventually
from tests.support.queue_proxy import ACTIVATOR_PROBE, running_queue_proxy


def tcp_probe(port: int, **fields: int) -> str:
    return json.dumps({"tcpSocket": {"host": "127.0.0.1", "port": port}, "successThreshold": 1, **fields})


def http_probe(port: int, path: str = "/healthz", **fields: object) -> str:
    get = {"host": "127.0.0.1", "port": port, "path": path, "scheme": "HTTP"}
    get["httpHeaders"] = [{"name": "X-Probe", "value": "yes"}]  # type: ignore[assignment]
    return json.dumps({"httpGet": get, "periodSeconds": 1, "timeoutSeconds": 1, **fields})


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_08_a_probe_of_a_ready_app_gets_exactly_queue() -> None:
    async with (
        running_app() as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=tcp_probe(app.port)) as proxy,
    ):
        response = await proxy.probe()
        assert (response.status, response.body) == (200, b"queue")
        assert response.values("content-type") == ["text/plain; charset=utf-8"]
        assert app.calls == []


@pytest.mark.parametrize("agent", ["kube-probe/1.34", "Knative-Autoscaling-Probe"])
async def test_09_so_do_kubelet_and_autoscaler(agent: str) -> None:
    async with running_queue_proxy() as proxy:
        response = await proxy.probe(f"User-Agent: {agent}", "K-Network-Probe: queue")
        assert (response.status, response.body) == (200, b"queue")


async def test_10_kubelets_probe_without_the_marker_is_refused() -> None:
    async with running_queue_proxy() as proxy:
        response = await proxy.probe("User-Agent: kube-probe/1.34")
        assert (response.status, response.body) == (400, b"unexpected probe header value: \n")
        assert response.value("x-content-type-options") == "nosniff"


async def test_11_a_probe_with_another_marker_is_refused_and_the_marker_named() -> None:
    async with running_queue_proxy() as proxy:
        response = await proxy.probe("User-Agent: Knative-Autoscaling-Probe", "K-Network-Probe: activator")
        assert (response.status, response.body) == (400, b"unexpected probe header value: activator\n")


async def test_12_path_and_method_of_a_probe_do_not_matter() -> None:
    async with running_queue_proxy() as proxy:
        for method, target in (("GET", "/healthz"), ("POST", "/any/where?x"), ("PUT", "//"), ("BREW", "/")):
            response = await proxy.fetch(target, method=method, headers=ACTIVATOR_PROBE)
            assert (response.status, response.body) == (200, b"queue")
        response = await proxy.fetch("/", method="POST", headers=ACTIVATOR_PROBE, body=b"data")
        assert (response.status, response.body) == (200, b"queue")


async def test_13_the_marker_alone_makes_no_probe() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        response = await proxy.probe("User-Agent: curl/8", "K-Network-Probe: queue")
        assert response.body == b"hello"
        assert app.calls[0].values("k-network-probe") == ["queue"]


async def test_14_a_network_probe_gets_its_hash_back() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        response = await proxy.probe("K-Network-Probe: probe", "K-Network-Hash: abc")
        assert (response.status, response.body, response.value("k-network-hash")) == (200, b"", "abc")
        assert app.calls == []


async def test_15_a_network_probe_without_a_hash_is_refused_and_the_header_named() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        for headers in (["K-Network-Probe: probe"], ["K-Network-Probe: probe", "K-Network-Hash:"]):
            response = await proxy.probe(*headers)
            assert response.status == 400
            assert b'"K-Network-Hash"' in response.body
        assert app.calls == []


async def test_16_without_a_probe_of_its_own_an_app_counts_as_ready(closed_port: int) -> None:
    async with running_queue_proxy(closed_port) as proxy:
        assert (await proxy.probe()).body == b"queue"


async def test_17_an_aggressive_probe_is_held_for_10_s(closed_port: int) -> None:
    async with running_queue_proxy(closed_port, SERVING_READINESS_PROBE=tcp_probe(closed_port)) as proxy:
        started_s = time.monotonic()
        response = await proxy.probe()
        assert (response.status, response.body) == (503, b"")
        assert 9.5 < time.monotonic() - started_s < 10 + LATE_S


async def test_18_a_held_probe_is_answered_as_soon_as_the_app_listens(closed_port: int) -> None:
    async with running_queue_proxy(closed_port, SERVING_READINESS_PROBE=tcp_probe(closed_port)) as proxy:
        held = asyncio.create_task(proxy.probe())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(held), 2)
        async with running_app(port=closed_port):
            up_s = time.monotonic()
            assert (await held).body == b"queue"
            assert time.monotonic() - up_s < LATE_S
        (ready,) = await eventually(lambda: [event for event in proxy.events if event["message"] == "app_ready"])
        assert ready["pod"] == "hello-00001-deployment-abc"
        assert abs(ready["at"] - time.time()) < 10


async def test_29_a_run_goes_on_without_its_caller(closed_port: int) -> None:
    async with running_queue_proxy(closed_port, SERVING_READINESS_PROBE=tcp_probe(closed_port)) as proxy:
        gone = await proxy.open()
        await gone.request(headers=ACTIVATOR_PROBE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gone.head(), 0.3)
        gone.close()
        async with running_app(port=closed_port) as app:
            await eventually(lambda: app.connections == 1)


async def test_19_a_standard_probe_is_answered_after_one_attempt(closed_port: int) -> None:
    probe = tcp_probe(closed_port, periodSeconds=1, timeoutSeconds=1)
    async with running_queue_proxy(closed_port, SERVING_READINESS_PROBE=probe) as proxy:
        started_s = time.monotonic()
        assert (await proxy.probe()).status == 503
        assert time.monotonic() - started_s < LATE_S


async def test_20_what_the_app_sees_of_an_http_probe() -> None:
    async with (
        running_app() as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=http_probe(app.port)) as proxy,
    ):
        assert (await proxy.probe()).status == 200
        (call,) = app.calls
        assert (call.method, call.target) == ("GET", "/healthz")
        assert call.values("user-agent") == ["kube-probe//"]
        assert call.values("x-probe") == ["yes"]


async def test_21_which_statuses_of_the_app_count_as_ready() -> None:
    status = 0

    async def answer(call: Call) -> None:
        await call.respond(status)

    async with (
        running_app(answer) as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=http_probe(app.port)) as proxy,
    ):
        verdicts = {}
        for status in (200, 204, 301, 304, 399, 400, 404, 500, 503):
            verdicts[status] = (await proxy.probe()).status
    assert verdicts == {200: 200, 204: 200, 301: 200, 304: 200, 399: 200, 400: 503, 404: 503, 500: 503, 503: 503}


async def test_21_a_redirect_is_followed_and_its_end_counts() -> None:
    async def answer(call: Call) -> None:
        if call.target == "/healthz":
            await call.respond(302, b"", "Location: /there?x=1")
        else:
            await call.respond(204 if call.target == "/there?x=1" else 500)

    async with (
        running_app(answer) as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=http_probe(app.port)) as proxy,
    ):
        assert (await proxy.probe()).status == 200
        assert [call.target for call in app.calls] == ["/healthz", "/there?x=1"]
        assert [call.values("user-agent") for call in app.calls] == [["kube-probe//"]] * 2


@pytest.mark.parametrize(("redirects", "verdict"), [(10, 200), (11, 503)])
async def test_21_ten_redirects_are_followed_and_not_one_more(redirects: int, verdict: int) -> None:
    async def answer(call: Call) -> None:
        step = int(call.target.rpartition("/")[2] or 0)
        if step < redirects:
            location = f"http://127.0.0.1:{app.port}/{step + 1}" if step % 2 else f"/{step + 1}"
            await call.respond((301, 302, 303, 307, 308)[step % 5], b"moved", f"Location: {location}")
        else:
            await call.respond(200)

    async with (
        running_app(answer) as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=http_probe(app.port, "/")) as proxy,
    ):
        assert (await proxy.probe()).status == verdict
        assert [call.target for call in app.calls] == ["/", *(f"/{step}" for step in range(1, 11))]


async def test_21_a_redirect_for_ever_and_one_to_nowhere_are_not_ready(closed_port: int) -> None:
    location = "/healthz"

    async def answer(call: Call) -> None:
        await call.respond(302, b"", f"Location: {location}")

    async with (
        running_app(answer) as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=http_probe(app.port)) as proxy,
    ):
        for location in ("/healthz", f"http://127.0.0.1:{closed_port}/", "https://127.0.0.1/", "http://[", "ftp://a/"):
            assert (await proxy.probe()).status == 503, location


@pytest.mark.parametrize("path", ["health?x=1", "/health?x=1"])
async def test_22_one_leading_slash_and_the_query_is_kept(path: str) -> None:
    async with (
        running_app() as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=http_probe(app.port, path)) as proxy,
    ):
        await proxy.probe()
        assert app.calls[0].target == "/health?x=1"


async def test_23_probes_in_parallel_share_a_run_and_a_later_one_starts_another() -> None:
    release = asyncio.Event()

    async def answer(call: Call) -> None:
        await release.wait()
        await call.respond(200)

    async with (
        running_app(answer) as app,
        running_queue_proxy(app.port, SERVING_READINESS_PROBE=http_probe(app.port, timeoutSeconds=10)) as proxy,
    ):
        first = asyncio.create_task(proxy.probe())
        await app.call(0)
        second = await proxy.open()
        await second.request(headers=ACTIVATOR_PROBE)
        # A later request on the same connection of time: once it is answered, the probe before it was read.
        assert (await proxy.probe("K-Network-Probe: probe", "K-Network-Hash: x")).status == 200
        release.set()
        assert ((await first).status, (await second.response()).status) == (200, 200)
        assert len(app.calls) == 1
        await proxy.probe()
        assert len(app.calls) == 2


async def test_24_the_success_threshold_wants_so_many_successes() -> None:
    async with (
        running_app() as app,
        running_queue_proxy(
            app.port, SERVING_READINESS_PROBE=http_probe(app.port, successThreshold=3, periodSeconds=0)
        ) as proxy,
    ):
        assert (await proxy.probe()).status == 200
        assert len(app.calls) == 3
        # Once reached, one success per run is enough.
        assert (await proxy.probe()).status == 200
        assert len(app.calls) == 4


async def test_25_a_failure_between_them_begins_the_count_anew() -> None:
    statuses = [200, 200, 500, 200, 200, 200]

    async def answer(call: Call) -> None:
        await call.respond(statuses[len(app.calls) - 1] if len(app.calls) <= len(statuses) else 200)

    async with (
        running_app(answer) as app,
        running_queue_proxy(
            app.port, SERVING_READINESS_PROBE=http_probe(app.port, successThreshold=3, periodSeconds=0)
        ) as proxy,
    ):
        assert (await proxy.probe()).status == 200
        assert len(app.calls) == 6


async def test_26_one_failing_probe_of_a_list_makes_the_pod_not_ready(closed_port: int) -> None:
    def listed(*ports: int) -> str:
        return json.dumps([json.loads(tcp_probe(port, periodSeconds=1, timeoutSeconds=1)) for port in ports])

    async with running_app() as app:
        options = {"ENABLE_MULTI_CONTAINER_PROBES": "true"}
        async with running_queue_proxy(SERVING_READINESS_PROBE=listed(app.port, app.port), **options) as proxy:
            assert (await proxy.probe()).status == 200
        async with running_queue_proxy(SERVING_READINESS_PROBE=listed(app.port, closed_port), **options) as proxy:
            assert (await proxy.probe()).status == 503


async def test_28_an_exec_probe_is_never_ready() -> None:
    probe = json.dumps({"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 1})
    async with running_queue_proxy(SERVING_READINESS_PROBE=probe) as proxy:
        assert (await proxy.probe()).status == 503


async def test_probes_are_answered_by_the_thousand_on_one_connection() -> None:
    async with running_queue_proxy() as proxy:
        client = await proxy.open()
        request = "GET / HTTP/1.1\r\nHost: h\r\n" + "\r\n".join(ACTIVATOR_PROBE) + "\r\n\r\n"
        await client.send(request * 3000)
        for _ in range(3000):
            assert (await client.response()).body == b"queue"
        client.close()
