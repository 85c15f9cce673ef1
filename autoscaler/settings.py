"""What the cluster's configuration and a revision's annotations come to: specs of decider and windows, bounds.

Pure functions of ConfigMap, annotations, container concurrency and reachability; called at every reconcile, so that a
changed ConfigMap takes effect without a restart. A value that cannot be used (an annotation that does not parse, a NaN
that slipped through admission) counts as absent. Source: knative/serving `pkg/reconciler/autoscaling/resources`,
`pkg/apis/autoscaling/v1alpha1/pa_lifecycle.go`; spec autoscaler.md 4.1, 5.1, 7.3; golden set `resolve`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.collector import MetricSpec
from autoscaler.decider import DeciderSpec
from kube.autoscaling import annotations as keys
from kube.autoscaling.annotations import Annotations
from kube.autoscaling.config import HPA_CLASS, KPA_CLASS, TARGET_MIN, AutoscalerConfig
from kube.autoscaling.metric_url import MetricUrl

__all__ = ["RevisionSettings", "autoscaler_class", "resolve"]

_PANIC_WINDOW_MIN_S = 1.0
_WINDOW_MAX_S = 86_400.0
"""Memory grows with windows. Admission allows an hour; what is beyond a day came past it and is no window."""
_DEFAULT = AutoscalerConfig()
_METRICS = {KPA_CLASS: "concurrency", HPA_CLASS: "cpu"}
"""What a class scales by where nothing is said; other classes are not ours to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionSettings:
    """Everything that scaling one revision depends on."""

    decider: DeciderSpec
    metric: MetricSpec
    metric_url: MetricUrl | None
    """Where the gauge is that the revision scales by; None: it scales by what its queue-proxies report."""
    min_scale: int
    """0 for a revision that no route leads to."""
    max_scale: int
    """0: no bound."""
    initial_scale: int
    is_unreachable: bool
    enable_scale_to_zero: bool
    grace_s: float
    """How long traffic must have gone through activators before the last pod may go."""
    pod_retention_s: float
    """How long the last pod stays after the traffic ended."""
    progress_deadline_s: float | None
    """The revision's own deadline for becoming ready; None: the cluster's."""


def resolve(
    annotations: Mapping[str, str],
    *,
    container_concurrency: int,
    reachability: str,
    metrics_service: str,
    config: AutoscalerConfig,
) -> RevisionSettings:
    """Return the settings of one revision. `container_concurrency` 0: unlimited; `metrics_service`: what is scraped."""
    own = Annotations(annotations)
    is_unreachable = reachability == "Unreachable"
    min_scale = own.int32(keys.MIN_SCALE)
    max_scale = own.int32(keys.MAX_SCALE)
    metric_url = own.metric_url() if own.text(keys.METRIC) == keys.URL else None
    scaling_metric = _scaling_metric(own, metric_url, autoscaler_class(annotations, config))
    decider = _decider_spec(own, scaling_metric, container_concurrency, not is_unreachable, config)
    return RevisionSettings(
        decider=decider,
        metric=MetricSpec(
            stable_window_s=decider.stable_window_s,
            panic_window_s=_panic_window_s(own, decider.stable_window_s, config),
            # With unlimited burst capacity activators see everything: nothing is scraped.
            scrape_target="" if decider.target_burst_capacity == -1 else metrics_service,
            aggregation_algorithm=_aggregation(own.text(keys.AGGREGATION) or ""),
        ),
        metric_url=metric_url,
        min_scale=0 if is_unreachable else config.min_scale if min_scale is None else min_scale,
        max_scale=config.max_scale if max_scale is None or max_scale < 0 else max_scale,
        initial_scale=decider.initial_scale,
        is_unreachable=is_unreachable,
        enable_scale_to_zero=config.enable_scale_to_zero,
        grace_s=config.scale_to_zero_grace_period_s,
        pod_retention_s=0.0 if is_unreachable else _pod_retention_s(own, config),
        progress_deadline_s=own.duration_s(keys.PROGRESS_DEADLINE),
    )


def autoscaler_class(annotations: Mapping[str, str], config: AutoscalerConfig) -> str:
    """The class that scales a revision."""
    return annotations.get(keys.CLASS[0], config.pod_autoscaler_class)


def _scaling_metric(own: Annotations, metric_url: MetricUrl | None, class_: str) -> str:
    wanted = own.text(keys.METRIC)
    if wanted == keys.URL and metric_url is None:
        wanted = None  # it says nowhere where that is
    return wanted or _METRICS.get(class_, "")


def _decider_spec(
    own: Annotations, scaling_metric: str, container_concurrency: int, reachable: bool, config: AutoscalerConfig
) -> DeciderSpec:
    target, total = _target_and_total(own, scaling_metric, container_concurrency, config)
    panic_threshold = _or(own.number(keys.PANIC_THRESHOLD), config.panic_threshold_percentage)
    return DeciderSpec(
        scaling_metric=scaling_metric,
        target_value=target,
        total_value=total,
        target_burst_capacity=_or(
            own.number(keys.TARGET_BURST_CAPACITY),
            _number(config.target_burst_capacity, _DEFAULT.target_burst_capacity),
        ),
        activator_capacity=_number(config.activator_capacity, _DEFAULT.activator_capacity),
        panic_threshold=_number(panic_threshold, _DEFAULT.panic_threshold_percentage) / 100,
        stable_window_s=_stable_window_s(own, config),
        scale_down_delay_s=_or(own.duration_s(keys.SCALE_DOWN_DELAY), config.scale_down_delay_s),
        max_scale_up_rate=_number(config.max_scale_up_rate, _DEFAULT.max_scale_up_rate),
        max_scale_down_rate=_number(config.max_scale_down_rate, _DEFAULT.max_scale_down_rate),
        initial_scale=_initial_scale(own, config),
        reachable=reachable,
        activation_scale=own.int32(keys.ACTIVATION_SCALE) or 0,
    )


def _target_and_total(
    own: Annotations, scaling_metric: str, container_concurrency: int, config: AutoscalerConfig
) -> tuple[float, float]:
    """(load that one pod aims at, load that one pod can take)."""
    if scaling_metric == "rps":
        total = _number(config.rps_target_default, _DEFAULT.rps_target_default)
        utilization = config.target_utilization
    else:
        default = _number(config.container_concurrency_target_default, _DEFAULT.container_concurrency_target_default)
        total = float(container_concurrency) if container_concurrency else default
        fraction = config.container_concurrency_target_fraction
        utilization = _number(fraction, _DEFAULT.container_concurrency_target_fraction)
    wanted = own.number(keys.TARGET)
    if wanted is not None:
        total = wanted
        if scaling_metric == "concurrency" and container_concurrency:
            total = min(wanted, float(container_concurrency))
    percentage = own.number(keys.TARGET_UTILIZATION)
    if percentage is not None:
        utilization = percentage / 100
    return max(TARGET_MIN, total * utilization), total


def _stable_window_s(own: Annotations, config: AutoscalerConfig) -> float:
    window_s = own.duration_s(keys.WINDOW)
    return config.stable_window_s if window_s is None or not 0 < window_s <= _WINDOW_MAX_S else window_s


def _panic_window_s(own: Annotations, stable_window_s: float, config: AutoscalerConfig) -> float:
    percentage = _or(own.number(keys.PANIC_WINDOW), config.panic_window_percentage)
    window_s = stable_window_s * _number(percentage, _DEFAULT.panic_window_percentage) / 100
    # Whole seconds, halves up: Python's own rounding would go to the even second.
    return max(_PANIC_WINDOW_MIN_S, float(math.floor(max(0.0, min(window_s, _WINDOW_MAX_S)) + 0.5)))


def _initial_scale(own: Annotations, config: AutoscalerConfig) -> int:
    wanted = own.int32(keys.INITIAL_SCALE)
    if wanted is None or (wanted == 0 and not config.allow_zero_initial_scale):
        return config.initial_scale
    return wanted


def _pod_retention_s(own: Annotations, config: AutoscalerConfig) -> float:
    return _or(own.duration_s(keys.POD_RETENTION), config.scale_to_zero_pod_retention_period_s)


def _aggregation(text: str) -> str:
    return "weighted-exponential" if text == "weightedExponential" else text


def _or(wanted: float | None, default: float) -> float:
    return default if wanted is None else wanted


def _number(value: float, default: float) -> float:
    return default if math.isnan(value) else value
