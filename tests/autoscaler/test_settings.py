"""`autoscaler.settings`: what the golden vectors leave out."""

import math

import pytest

from autoscaler.settings import RevisionSettings, resolve
from kube.autoscaling.config import AutoscalerConfig


def settings(data: dict[str, str], annotations: dict[str, str]) -> RevisionSettings:
    return resolve(
        {f"autoscaling.knative.dev/{key}": text for key, text in annotations.items()},
        container_concurrency=0,
        reachability="",
        metrics_service="private",
        config=AutoscalerConfig.from_data(data),
    )


@pytest.mark.parametrize(
    "key",
    [
        "container-concurrency-target-percentage",
        "container-concurrency-target-default",
        "requests-per-second-target-default",
        "target-burst-capacity",
        "panic-window-percentage",
        "panic-threshold-percentage",
        "activator-capacity",
        "max-scale-up-rate",
        "max-scale-down-rate",
    ],
)
@pytest.mark.parametrize("metric", ["concurrency", "rps"])
def test_a_nan_that_passed_admission_counts_as_absent(key: str, metric: str) -> None:
    plain = settings({}, {"metric": metric})
    assert settings({key: "NaN"}, {"metric": metric}) == plain
    assert not math.isnan(plain.decider.target_value)


def test_a_nan_annotation_counts_as_absent() -> None:
    spoilt = {"target": "NaN", "target-burst-capacity": "NaN", "panic-window-percentage": "NaN"}
    assert settings({}, spoilt) == settings({}, {})


@pytest.mark.parametrize(
    ("window", "percentage", "panic_s"),
    [("60s", "10", 6), ("60s", "51", 31), ("10s", "10", 1), ("15s", "10", 2), ("25s", "10", 3), ("6s", "10", 1)],
)
def test_14_panic_windows_are_whole_seconds(window: str, percentage: str, panic_s: float) -> None:
    found = settings({}, {"window": window, "panic-window-percentage": percentage})
    assert found.metric.panic_window_s == panic_s


@pytest.mark.parametrize(("burst", "scraped"), [("-1", ""), ("0", "private"), ("211", "private")])
def test_15_nothing_is_scraped_with_unlimited_burst_capacity(burst: str, scraped: str) -> None:
    assert settings({}, {"target-burst-capacity": burst}).metric.scrape_target == scraped
