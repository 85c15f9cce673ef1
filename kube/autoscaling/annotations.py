"""Annotations that set autoscaling for one revision: their names and aliases, what they must hold, how they read.

Two readers look at them differently. Admission (`problems`) refuses a template whose annotations are wrong, with the
original's messages. At run time (`Annotations`) a value that does not parse is as good as absent. The metric `url` and
the keys of `autoscaling.knuv.dev` are ours. Source: knative/serving `pkg/apis/autoscaling`; spec autoscaler.md 9.2;
golden sets `annotations` and `resolve`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kube.autoscaling.config import (
    HPA_CLASS,
    KPA_CLASS,
    STABLE_WINDOW_MAX_S,
    STABLE_WINDOW_MIN_S,
    TARGET_MIN,
    AutoscalerConfig,
)
from kube.autoscaling.metric_url import MetricUrl
from proxies import gotext

__all__ = ["GROUPS", "URL", "Annotations", "Problem", "describe", "problems"]

GROUPS = ("autoscaling.knative.dev", "autoscaling.knuv.dev")
"""What the keys begin with; on anything but a revision's template they are refused."""
URL = "url"
"""The metric that is a gauge of the app's own; `METRIC_URL` says where it is."""

_INT32_MAX = (1 << 31) - 1


def _key(name: str, alias: str = "") -> tuple[str, ...]:
    return tuple(f"{GROUPS[0]}/{spelling}" for spelling in (name, alias) if spelling)


# The first spelling that is present counts, even when its value is bad.
CLASS = _key("class")
METRIC = _key("metric")
METRIC_URL = (f"{GROUPS[1]}/metric-url",)
AGGREGATION = _key("metric-aggregation-algorithm", "metricAggregationAlgorithm")
MIN_SCALE = _key("min-scale", "minScale")
MAX_SCALE = _key("max-scale", "maxScale")
INITIAL_SCALE = _key("initial-scale", "initialScale")
ACTIVATION_SCALE = _key("activation-scale")
SCALE_DOWN_DELAY = _key("scale-down-delay", "scaleDownDelay")
POD_RETENTION = _key("scale-to-zero-pod-retention-period", "scaleToZeroPodRetentionPeriod")
TARGET = _key("target")
TARGET_BURST_CAPACITY = _key("target-burst-capacity", "targetBurstCapacity")
TARGET_UTILIZATION = _key("target-utilization-percentage", "targetUtilizationPercentage")
WINDOW = _key("window")
PANIC_WINDOW = _key("panic-window-percentage", "panicWindowPercentage")
PANIC_THRESHOLD = _key("panic-threshold-percentage", "panicThresholdPercentage")
PROGRESS_DEADLINE = ("serving.knative.dev/progress-deadline",)


class Annotations:
    """What a revision asks for; None where it asks for nothing that can be read."""

    __slots__ = ("_annotations",)

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self._annotations = annotations

    def text(self, keys: tuple[str, ...]) -> str | None:
        """The text under the first of `keys` that is present."""
        found = _find(self._annotations, keys)
        return None if found is None else found[1]

    def int32(self, keys: tuple[str, ...]) -> int | None:
        """A 32 bit integer."""
        text = self.text(keys)
        try:
            return None if text is None else gotext.parse_int(text, bits=32)
        except ValueError:
            return None

    def number(self, keys: tuple[str, ...]) -> float | None:
        """A float; NaN and minus infinity count as absent, since nothing can be computed with them."""
        text = self.text(keys)
        try:
            value = None if text is None else gotext.parse_float(text)
        except ValueError:
            return None
        return None if value is None or math.isnan(value) or value == -math.inf else value

    def duration_s(self, keys: tuple[str, ...]) -> float | None:
        """A duration in seconds."""
        text = self.text(keys)
        try:
            return None if text is None else gotext.parse_duration_s(text)
        except ValueError:
            return None

    def metric_url(self) -> MetricUrl | None:
        """Where the metric `url` is read."""
        text = self.text(METRIC_URL)
        try:
            return None if text is None else MetricUrl.parse(text)
        except ValueError:
            return None


class Problem(NamedTuple):
    """One thing wrong with a template's annotations; `path` is the key."""

    message: str
    path: str


def problems(annotations: Mapping[str, str], config: AutoscalerConfig) -> list[Problem]:
    """Return everything that admission objects to; empty when nothing."""
    found: list[Problem] = []
    for check in _CHECKS:
        found.extend(check(annotations, config))
    return found


def describe(found: list[Problem]) -> str:
    """The text that users are shown: a line for each message with all its paths, everything sorted."""
    paths: dict[str, set[str]] = {}
    for message, path in found:
        paths.setdefault(message, set()).add(path)
    return "\n".join(f"{message}: {', '.join(sorted(paths[message]))}" for message in sorted(paths))


def _find(annotations: Mapping[str, str], keys: tuple[str, ...]) -> tuple[str, str] | None:
    """(key, text) of the first of `keys` that is present."""
    for key in keys:
        if key in annotations:
            return key, annotations[key]
    return None


def _invalid(value: str, path: str) -> Problem:
    return Problem(f"invalid value: {value}", path)


def _class(annotations: Mapping[str, str], config: AutoscalerConfig) -> Iterator[Problem]:
    found = _find(annotations, CLASS)
    # Other domains bring their own autoscaler; under Knative's there are just these.
    if found and found[1].endswith(".knative.dev") and found[1] not in (KPA_CLASS, HPA_CLASS):
        yield _invalid(found[1], found[0])


def _bounds_and_activation(annotations: Mapping[str, str], config: AutoscalerConfig) -> Iterator[Problem]:
    smallest, found = _scale(annotations, MIN_SCALE)
    yield from found
    largest, found = _scale(annotations, MAX_SCALE)
    yield from found
    if largest != 0 and largest < smallest:
        message = f"max-scale={largest} is less than min-scale={smallest}"
        yield Problem(message, MAX_SCALE[0])
        yield Problem(message, MIN_SCALE[0])
    limit = config.max_scale_limit
    key = _find(annotations, MAX_SCALE)
    if key is not None and limit > 0:
        if largest > limit:
            yield Problem(f"expected 1 <= {largest} <= {limit}", key[0])
        elif largest == 0:
            yield Problem(f"max-scale=0 (unlimited), must be less than {limit}", key[0])
    yield from _activation_scale(annotations, smallest, largest)


def _scale(annotations: Mapping[str, str], keys: tuple[str, ...]) -> tuple[int, list[Problem]]:
    """The scale under `keys`, 0 where it is absent or bad, and what is wrong with it."""
    found = _find(annotations, keys)
    if found is None:
        return 0, []
    key, text = found
    try:
        # Any number of digits is a number; only its size can be wrong.
        value = gotext.parse_int(text, bits=1 << 12)
    except ValueError:
        return 0, [_invalid(text, key)]
    if not 0 <= value <= _INT32_MAX:
        return 0, [Problem(f"expected 0 <= {text} <= {_INT32_MAX}", key)]
    return value, []


def _activation_scale(annotations: Mapping[str, str], smallest: int, largest: int) -> Iterator[Problem]:
    found = _find(annotations, ACTIVATION_SCALE)
    if found is None:
        return
    key, text = found
    try:
        value = gotext.parse_int(text, bits=32)
    except ValueError:
        yield _invalid(text, key)
        return
    if value < smallest:
        yield Problem(f"min-scale={smallest} is greater than activation-scale={value}", key)
    elif largest != 0 and value > largest:
        yield Problem(f"max-scale={largest} is less than activation-scale={value}", key)
    elif value < 2:
        yield Problem(f"activation-scale={value} must be greater than 1", key)


def _floats(annotations: Mapping[str, str], config: AutoscalerConfig) -> Iterator[Problem]:
    for keys, lowest, highest in (
        (PANIC_WINDOW, 1, 100),
        (PANIC_THRESHOLD, 110, 1000),
        (TARGET_UTILIZATION, 1, 100),
        (TARGET, None, None),
        (TARGET_BURST_CAPACITY, None, None),
    ):
        found = _find(annotations, keys)
        if found is None:
            continue
        key, text = found
        try:
            value = gotext.parse_float(text)
        except ValueError:
            yield _invalid(text, key)
            continue
        # Written so that NaN passes, as it does in Go.
        if lowest is not None and highest is not None and (value < lowest or value > highest):
            yield Problem(f"expected {lowest} <= {text} <= {highest}", key)
        if keys is TARGET and value < TARGET_MIN:
            yield Problem(f"target {text} should be at least {TARGET_MIN}", key)
        if keys is TARGET_BURST_CAPACITY and value < 0 and value != -1:
            yield _invalid(text, key)


def _window(annotations: Mapping[str, str], config: AutoscalerConfig) -> Iterator[Problem]:
    yield from _duration(annotations, WINDOW, STABLE_WINDOW_MIN_S, whole_seconds=True)


def _durations(annotations: Mapping[str, str], config: AutoscalerConfig) -> Iterator[Problem]:
    yield from _duration(annotations, POD_RETENTION, 0.0, whole_seconds=False)
    yield from _duration(annotations, SCALE_DOWN_DELAY, 0.0, whole_seconds=True)


def _duration(
    annotations: Mapping[str, str], keys: tuple[str, ...], lowest_s: float, *, whole_seconds: bool
) -> Iterator[Problem]:
    found = _find(annotations, keys)
    if found is None:
        return
    key, text = found
    try:
        value_s = gotext.parse_duration_s(text)
    except ValueError:
        yield _invalid(text, key)
        return
    if value_s < lowest_s or value_s > STABLE_WINDOW_MAX_S:
        bounds = gotext.format_duration(lowest_s), gotext.format_duration(STABLE_WINDOW_MAX_S)
        yield Problem(f"expected {bounds[0]} <= {text} <= {bounds[1]}", key)
    elif whole_seconds and value_s % 1:
        yield Problem("must be specified with at most second precision", key)


def _initial_scale(annotations: Mapping[str, str], config: AutoscalerConfig) -> Iterator[Problem]:
    found = _find(annotations, INITIAL_SCALE)
    if found is None:
        return
    key, text = found
    try:
        value = gotext.parse_int(text)
    except ValueError:
        yield _invalid(text, key)
        return
    # The path carries the explanation, as in the original.
    if value < 0:
        yield _invalid(text, f"{key} must be greater than 0")
    elif value == 0 and not config.allow_zero_initial_scale:
        yield _invalid(text, f"{key}=0 not allowed by cluster")


def _metric(annotations: Mapping[str, str], config: AutoscalerConfig) -> Iterator[Problem]:
    found = _find(annotations, METRIC)
    if found is None:
        return
    class_ = annotations.get(CLASS[0], config.pod_autoscaler_class)
    if (class_ == KPA_CLASS and found[1] not in ("concurrency", "rps", URL)) or (class_ == HPA_CLASS and not found[1]):
        yield _invalid(found[1], found[0])


def _metric_url(annotations: Mapping[str, str], config: AutoscalerConfig) -> Iterator[Problem]:
    (key,) = METRIC_URL
    found = _find(annotations, METRIC)
    is_wanted = (
        found is not None and found[1] == URL and annotations.get(CLASS[0], config.pod_autoscaler_class) == KPA_CLASS
    )
    text = annotations.get(key)
    if text is None:
        if is_wanted:
            yield Problem(f"metric {URL} needs a place to read it, such as :8000/metrics#queue_length", key)
        return
    if not is_wanted:
        yield Problem(f"only read with metric {URL} of class {KPA_CLASS}", key)
    try:
        MetricUrl.parse(text)
    except ValueError as error:
        yield Problem(str(error), key)


def _aggregation(annotations: Mapping[str, str], config: AutoscalerConfig) -> Iterator[Problem]:
    # Only under an explicit class: the cluster's default class does not count here.
    if annotations.get(CLASS[0]) != KPA_CLASS:
        return
    found = _find(annotations, AGGREGATION)
    if found and found[1] not in ("", "linear", "weighted-exponential", "weightedExponential"):
        yield _invalid(found[1], found[0])


_CHECKS = (
    _class,
    _bounds_and_activation,
    _floats,
    _window,
    _durations,
    _initial_scale,
    _metric,
    _metric_url,
    _aggregation,
)
