"""Replays `scrape_client`: how one answer of a metrics endpoint is taken."""

from typing import Any

from autoscaler.scrape_client import ACCEPT, read_answer
from autoscaler.scraper import FetchError
from proxies.wire.stat import Stat, encode_stat
from tests.golden.replay import Golden, same


def test_scrape_client(golden: Golden) -> None:
    with golden("scrape_client") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    want = case["expect"]
    same(ACCEPT, want["accept_sent"], "accept")
    reported = Stat("pod-1", average_concurrent_requests=2.5, request_count=7.0)
    body = b"" if case["status"] == 204 else encode_stat(reported)
    try:
        stat = read_answer(case["status"], case["content_type"], body)
    except FetchError as error:
        same((True, error.might_be_mesh), (want["error"], want["might_be_mesh"]), "error")
        return
    same(False, want["error"], "error")
    same(stat.pod_name, want["pod_name"], "pod_name")
    same(
        [
            stat.average_concurrent_requests,
            stat.average_proxied_concurrent_requests,
            stat.request_count,
            stat.proxied_request_count,
        ],
        want["stat"],
        "stat",
    )
