"""Replays `queue_headers`: the `Forwarded` header and the body of the metrics endpoint."""

from typing import Any

from proxies.headers import forwarded_value
from proxies.request_stats import Report
from queue_proxy.admin import StatSnapshot
from tests.golden.replay import Golden, same

LATER = {"route_tag": "the tag is a label of metrics that are not exported"}


def test_queue_headers(golden: Golden) -> None:
    with golden("queue_headers", later=LATER) as vectors:
        vectors.each("forwarded", check_forwarded)
        vectors.each("metrics_body", check_metrics_body)


def check_forwarded(entry: dict[str, Any]) -> None:
    values = (entry[name].encode() for name in ("x_forwarded_for", "x_forwarded_host", "x_forwarded_proto"))
    same(forwarded_value(*values).decode(), entry["expect"]["forwarded"], "forwarded")


def check_metrics_body(entry: dict[str, Any]) -> None:
    snapshot = StatSnapshot(entry["pod"], 0.0)
    if entry["reported"]:
        snapshot.update(Report(*entry["report"]), entry["uptime_s"], entry["reporting_period_s"])
    same(snapshot.answer.body.hex(), entry["expect"]["body_hex"], "body")
    assert (b"Content-Type", entry["expect"]["content_type"].encode()) in snapshot.answer.fields
