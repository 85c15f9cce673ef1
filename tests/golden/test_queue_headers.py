"""Replays `queue_headers`: the `Forwarded` header, the route tag, and the body of the autoscaler's metrics endpoint."""

from typing import Any

from proxies.headers import forwarded_value
from proxies.request_stats import Report
from queue_proxy.admin import StatSnapshot
from queue_proxy.request_metrics import route_tag
from tests.golden.replay import Golden, same


def test_queue_headers(golden: Golden) -> None:
    with golden("queue_headers") as vectors:
        vectors.each("forwarded", check_forwarded)
        vectors.each("metrics_body", check_metrics_body)
        vectors.each("route_tag", check_route_tag)


def check_forwarded(entry: dict[str, Any]) -> None:
    values = (entry[name].encode() for name in ("x_forwarded_for", "x_forwarded_host", "x_forwarded_proto"))
    same(forwarded_value(*values).decode(), entry["expect"]["forwarded"], "forwarded")


def check_route_tag(entry: dict[str, Any]) -> None:
    tag = route_tag(entry["tag"].encode(), entry["default_route"].encode())
    same(tag, entry["expect"]["route_tag_name"], "route_tag_name")


def check_metrics_body(entry: dict[str, Any]) -> None:
    snapshot = StatSnapshot(entry["pod"], 0.0)
    if entry["reported"]:
        snapshot.update(Report(*entry["report"]), entry["uptime_s"], entry["reporting_period_s"])
    same(snapshot.answer.body.hex(), entry["expect"]["body_hex"], "body")
    assert (b"Content-Type", entry["expect"]["content_type"].encode()) in snapshot.answer.fields
