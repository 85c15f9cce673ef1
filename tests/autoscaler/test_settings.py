"""`autoscaler.settings`: what the golden vectors leave out."""

import math

import pytest

from autoscaler.settings import RevisionSettings, resolve
from kube.autoscaling.config import AutoscalerConfig
from kube.autoscaling.metric_url import MetricUrl


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


URL = "autoscaling.knuv.dev/metric-url"


def scaled_by(metric: str, url: str | None) -> RevisionSettings:
    annotations = {"autoscaling.knative.dev/metric": metric, "autoscaling.knative.dev/target": "5"}
    return resolve(
        annotations | ({URL: url} if url is not None else {}),
        container_concurrency=1,
        reachability="",
        metrics_service="private",
        config=AutoscalerConfig(),
    )


def test_a_revision_may_scale_by_a_gauge_of_its_app() -> None:
    found = scaled_by("url", ":8000/metrics#queue")
    assert found.metric_url == MetricUrl(8000, "/metrics", "queue")
    assert (found.decider.scaling_metric, found.decider.total_value, found.decider.target_value) == ("url", 5, 3.5)


@pytest.mark.parametrize("url", [None, "", "http://elsewhere/metrics#queue"])
def test_a_gauge_that_is_nowhere_counts_as_absent(url: str | None) -> None:
    found = scaled_by("url", url)
    assert found.metric_url is None
    assert found.decider.scaling_metric == "concurrency"


def test_a_place_without_the_metric_is_not_asked() -> None:
    assert scaled_by("rps", ":8000/metrics#queue").metric_url is None
