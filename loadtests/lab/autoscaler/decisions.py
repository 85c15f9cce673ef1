"""What deciding costs by itself: `python -m loadtests.lab.autoscaler.decisions REVISIONS`, one JSON object.

The process holds so many revisions with full windows of 60 s and nothing else. It decides each of them, as the ticker
does, and times every call: windows to averages, averages to pods, pods to whether anybody is told.
"""

import gc
import json
import statistics
import sys
import time
from pathlib import Path

from autoscaler.multiscaler import PHASES, MultiScaler
from autoscaler.settings import resolve
from kube.autoscaling.config import AutoscalerConfig
from proxies.wire.stat import Stat

WINDOW_S = 60
TICKS = 5
_T0 = 1_785_542_400.0


def main(revisions: int) -> dict[str, float]:
    """Median and 99th percentile of a call in microseconds, and what a revision's state takes in KB."""
    settings = resolve(
        {}, container_concurrency=0, reachability="Reachable", metrics_service="private", config=AutoscalerConfig()
    )
    before_kb = _rss_kb()
    scalers = MultiScaler(lambda key: 1)
    keys = [("default", f"revision-{number:05}") for number in range(revisions)]
    for key in keys:
        scalers.put(key, settings.decider, settings.metric, _T0, 0)
    collections = [revision.collection for revision in scalers]
    for second in range(WINDOW_S):
        for number, collection in enumerate(collections):
            load = (number * 7 + second * 3) % 60
            collection.scraped(_T0 + second, Stat("service-scraper", load, request_count=load))
    state_kb = (_rss_kb() - before_kb) / revisions
    gc.collect()
    gc.freeze()
    calls_us: list[float] = []
    for tick in range(TICKS):
        now_s = _T0 + WINDOW_S + 2 * tick
        for collection in collections:
            collection.scraped(now_s, Stat("service-scraper", 30.0, request_count=30.0))
        for phase in range(PHASES):
            for revision in scalers.in_phase(phase):
                began_ns = time.perf_counter_ns()
                scalers.decide(revision, now_s)
                calls_us.append((time.perf_counter_ns() - began_ns) / 1000)
    calls_us.sort()
    return {
        "median_us": statistics.median(calls_us),
        "p99_us": calls_us[int(len(calls_us) * 0.99)],
        "state_kb": state_kb,
    }


def _rss_kb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4.096


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
