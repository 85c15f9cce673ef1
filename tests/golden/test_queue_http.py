"""Replays `queue_http`: one request through queue-proxy's policy, between a recorded client and a recorded app."""

from typing import Any

from proxies.breaker import Breaker
from proxies.drain import Drain
from proxies.exchange import Exchange
from proxies.http1 import parse_request
from proxies.messages import Answer
from proxies.request_stats import RequestStats
from proxies.timeouts import TimeoutLimits
from queue_proxy.policy import QueuePolicy
from tests.golden.replay import Golden, same


def test_queue_http(golden: Golden) -> None:
    with golden("queue_http") as vectors:
        vectors.each("cases", check_case)


class Client:
    """The downstream half: keeps the answer."""

    def __init__(self) -> None:
        self.answer: Answer | None = None

    def give_answer(self, answer: Answer) -> None:
        self.answer = answer

    def wake_at(self, due_s: float) -> None:
        """Nothing takes long enough here."""

    def release(self, exchange: Exchange) -> None:
        """The exchange is over."""


class RecordingApp:
    """The target: keeps the head that it was sent and says whether it was reached."""

    def __init__(self) -> None:
        self.head = b""

    def carry(self, exchange: Exchange, *, fresh: bool = False) -> None:
        assert exchange.edits is not None
        # Without the peer's address: the recording compares `X-Forwarded-For` before the last hop is appended.
        self.head = exchange.edits.apply(exchange.request, b"")


class Probed:
    """The readiness of the user container."""

    has_probes = True
    is_running = False

    def __init__(self, *, is_ready: bool) -> None:
        self._is_ready = is_ready

    def run(self, done: Any) -> None:
        done(self._is_ready)


def check_case(case: dict[str, Any]) -> None:
    app, client, drain, stats = RecordingApp(), Client(), Drain(), RequestStats(0.0)
    if case["state"] == "draining":
        drain.begin(0.0)
    limit = case["container_concurrency"]
    policy = QueuePolicy(
        target=app,
        limits=TimeoutLimits(max_duration_s=60),
        breaker=Breaker(queue_depth=10 * limit, concurrency=limit) if limit else None,
        stats=stats,
        drain=drain,
        readiness=Probed(is_ready=case["state"] != "not-ready"),  # type: ignore[arg-type]
        timed_out=lambda exchange, timer: None,
    )
    request = case["request"]
    lines = [f"{request['method']} {request['uri']} HTTP/1.1", f"Host: {request['host']}"]
    lines += [f"{name}: {value}" for name, value in request["headers"]]
    head = parse_request("\r\n".join(lines).encode())
    exchange = Exchange(client, policy, head, peer=b"", clock=lambda: 1.0, data=b"", body=None, request_done=True)  # type: ignore[arg-type]
    policy.admit(exchange)

    expect = case["expect"]
    report = stats.report(2.0)
    same(int(report.request_count), expect["counted"], "counted")
    same(int(report.proxied_request_count), expect["counted_proxied"], "counted_proxied")
    if expect["user_saw"] is None:
        assert app.head == b""
        assert client.answer is not None
        same(client.answer.status, expect["status"], "status")
        same(client.answer.body.decode(), expect["body"], "body")
        fields = {name.decode(): value.decode() for name, value in client.answer.fields}
        same(fields, expect["headers"], "headers")
        return
    assert client.answer is None
    saw = parse_request(app.head.removesuffix(b"\r\n\r\n"))
    want = expect["user_saw"]
    same(
        [saw.method.decode(), saw.target.decode(), saw.host.decode()],
        [want["method"], want["uri"], want["host"]],
        "saw",
    )
    for name, value in want["headers"].items():
        same([each.decode() for each in saw.get_all(name.lower().encode())], [value], name)
    for gone in (b"k-original-host", b"knative-serving-revision", b"knative-serving-namespace"):
        assert saw.get(gone) == b""
