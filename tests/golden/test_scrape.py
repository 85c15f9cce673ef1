"""Replays `scrape`: which stat of a revision comes out of what its pods answer."""

import asyncio
import itertools
import random
from typing import Any

from autoscaler.pods import ready_pods
from autoscaler.scraper import (
    DirectScrapingNotAvailable,
    FetchError,
    MeshMode,
    NoStatReceived,
    PodsExhausted,
    ScrapeError,
    Scraper,
    average_over,
)
from kube.models.core import Pod, PodStatus
from kube.models.meta import Condition, ObjectMeta
from kube.timestamps import format_time
from proxies.wire.stat import Stat
from tests.golden.replay import Golden, same

NOW_S = 1_785_542_400.0
RESULTS: dict[type[ScrapeError], str] = {
    PodsExhausted: "error:pods-exhausted",
    DirectScrapingNotAvailable: "error:direct-scraping-not-available",
    NoStatReceived: "error:did-not-receive-stat",
    FetchError: "error:scrape-failed",
}


def test_scrape(golden: Golden) -> None:
    with golden("scrape") as vectors:
        vectors.each("cases", check_case)
        vectors.each("averages", check_average)


def check_case(case: dict[str, Any]) -> None:
    result, stat, addressable = asyncio.run(scrape(case))
    want = case["expect"]
    same(result, want["result"], "result")
    same(addressable, want["pods_addressable_after"], "pods_addressable")
    same(columns(stat) if stat else None, want.get("stat"), "stat")


def check_average(case: dict[str, Any]) -> None:
    sample = [Stat("pod", *row) for row in case["sampled"]]
    same(columns(average_over(sample, case["total_pods"])), case["expect"]["stat"], "stat")


async def scrape(case: dict[str, Any]) -> tuple[str, Stat | None, bool]:
    """(name of the result, the stat, whether pods are believed to be addressable afterwards)."""
    by_ip = {pod["ip"]: pod for pod in case["pods"]}
    answering = [pod for pod in case["pods"] if is_ready(pod) and pod["answer"] == "ok"]
    turn = itertools.cycle(answering)

    async def fetch_pod(address: str) -> Stat:
        pod = by_ip[address]
        if pod["answer"] != "ok":
            raise FetchError(pod["answer"], might_be_mesh=pod["answer"] == "mesh")
        return stat_of(pod)

    async def fetch_service() -> Stat:
        if case["service_scrape_fails"] or not answering:
            raise FetchError("the service does not answer")
        return stat_of(next(turn))

    scraper = Scraper(
        mode=MeshMode(case["mesh_mode"]),
        passthrough=case["passthrough_lb"],
        fetch_pod=fetch_pod,
        fetch_service=fetch_service,
        randomness=random.Random(case["id"]),
    )
    scraper.pods_addressable = case["pods_addressable"]
    try:
        stat = await scraper.scrape(ready_pods(map(pod_of, case["pods"])), NOW_S, case["window_s"])
    except ScrapeError as error:
        return RESULTS[type(error)], None, scraper.pods_addressable
    return "ok" if stat else "nothing", stat, scraper.pods_addressable


def is_ready(pod: dict[str, Any]) -> bool:
    return pod["ready"] and pod["phase"] == "Running" and not pod["terminating"]


def stat_of(pod: dict[str, Any]) -> Stat:
    stat = Stat(pod["pod_name"], *pod["stat"])
    stat.process_uptime = pod["uptime_s"]
    return stat


def columns(stat: Stat) -> list[float]:
    return [
        stat.average_concurrent_requests,
        stat.average_proxied_concurrent_requests,
        stat.request_count,
        stat.proxied_request_count,
    ]


def pod_of(pod: dict[str, Any]) -> Pod:
    return Pod(
        metadata=ObjectMeta(deletion_timestamp=format_time(NOW_S) if pod["terminating"] else None),
        status=PodStatus(
            phase=pod["phase"],
            conditions=[Condition(type="Ready", status="True" if pod["ready"] else "False")],
            pod_ip=pod["ip"],
            start_time=format_time(NOW_S - pod["age_s"]),
        ),
    )
