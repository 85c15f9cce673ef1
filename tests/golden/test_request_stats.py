"""Replays `request_stats`: averages and counts from requests going in and out."""

from typing import Any

from proxies.request_stats import RequestStats
from tests.golden.replay import Golden, same


def test_request_stats(golden: Golden) -> None:
    with golden("request_stats") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    stats = RequestStats(0.0)
    for index, (t_ns, op, *expected) in enumerate(case["ops"]):
        now_s = t_ns / 1e9
        proxied = op.startswith("proxied-")
        if op == "report":
            report = stats.report(now_s)
            got = [
                report.average_concurrency,
                report.average_proxied_concurrency,
                report.request_count,
                report.proxied_request_count,
            ]
            # Seconds as doubles instead of whole nanoseconds: sums differ in the last digits.
            same(got, expected, f"ops[{index}]", absolute=1e-9)
        elif op.endswith("in"):
            stats.request_in(now_s, proxied=proxied)
        else:
            stats.request_out(now_s, proxied=proxied)
