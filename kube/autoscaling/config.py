"""The ConfigMap `config-autoscaler`: parsed, normalised and validated as Knative does, with its messages.

Admission refuses a bad map with these texts, and the autoscaler keeps the last good one. Source: knative/serving
`pkg/autoscaler/config/config.go`; spec autoscaler.md 9.1; golden set `config_autoscaler`. Like the original this
accepts `NaN` where a number is compared with a bound; whoever computes with the values guards against it
(`autoscaler.settings`).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from proxies import gotext

__all__ = [
    "HPA_CLASS",
    "KPA_CLASS",
    "STABLE_WINDOW_MAX_S",
    "STABLE_WINDOW_MIN_S",
    "TARGET_MIN",
    "AutoscalerConfig",
    "InvalidConfig",
]

T = TypeVar("T")

KPA_CLASS = "kpa.autoscaling.knative.dev"
HPA_CLASS = "hpa.autoscaling.knative.dev"
TARGET_MIN = 0.01
STABLE_WINDOW_MIN_S = 6.0
STABLE_WINDOW_MAX_S = 3600.0


class InvalidConfig(ValueError):
    """The map cannot be used; the text is the original's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerConfig:
    """Cluster-wide defaults of autoscaling. Keys are named where the field's name is not the key's."""

    pod_autoscaler_class: str = KPA_CLASS
    enable_scale_to_zero: bool = True
    allow_zero_initial_scale: bool = False
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    container_concurrency_target_fraction: float = 0.7
    """`container-concurrency-target-percentage`: above 1 it is a percentage, so 1 means 100 % and 1.5 means 1.5 %."""
    container_concurrency_target_default: float = 100.0
    """Concurrency of one pod whose `containerConcurrency` is unlimited."""
    rps_target_default: float = 200.0
    """`requests-per-second-target-default`."""
    target_utilization: float = 0.7
    """Share of the target that other metrics than concurrency aim at. Not configurable, as in the original."""
    target_burst_capacity: float = 211.0
    panic_window_percentage: float = 10.0
    activator_capacity: float = 100.0
    panic_threshold_percentage: float = 200.0
    initial_scale: int = 1
    max_scale: int = 0
    """0: no bound."""
    min_scale: int = 0
    max_scale_limit: int = 0
    """What users may set as max-scale; 0: anything."""
    stable_window_s: float = 60.0
    scale_down_delay_s: float = 0.0
    scale_to_zero_grace_period_s: float = 30.0
    scale_to_zero_pod_retention_period_s: float = 0.0

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> "AutoscalerConfig":
        """Read a map; unknown keys are ignored, absent ones have their default. Raises `InvalidConfig`."""
        read = _Reader(data)
        default = cls()
        # The order is the original's: of several bad values the first is reported.
        config = cls(
            pod_autoscaler_class=data.get("pod-autoscaler-class", default.pod_autoscaler_class),
            enable_scale_to_zero=read.boolean("enable-scale-to-zero", default.enable_scale_to_zero),
            allow_zero_initial_scale=read.boolean("allow-zero-initial-scale", default.allow_zero_initial_scale),
            max_scale_up_rate=read.number("max-scale-up-rate", default.max_scale_up_rate),
            max_scale_down_rate=read.number("max-scale-down-rate", default.max_scale_down_rate),
            container_concurrency_target_fraction=_as_fraction(
                read.number("container-concurrency-target-percentage", default.container_concurrency_target_fraction)
            ),
            container_concurrency_target_default=read.number(
                "container-concurrency-target-default", default.container_concurrency_target_default
            ),
            rps_target_default=read.number("requests-per-second-target-default", default.rps_target_default),
            target_burst_capacity=read.number("target-burst-capacity", default.target_burst_capacity),
            panic_window_percentage=read.number("panic-window-percentage", default.panic_window_percentage),
            activator_capacity=read.number("activator-capacity", default.activator_capacity),
            panic_threshold_percentage=read.number("panic-threshold-percentage", default.panic_threshold_percentage),
            initial_scale=read.int32("initial-scale", default.initial_scale),
            max_scale=read.int32("max-scale", default.max_scale),
            min_scale=read.int32("min-scale", default.min_scale),
            max_scale_limit=read.int32("max-scale-limit", default.max_scale_limit),
            stable_window_s=read.duration_s("stable-window", default.stable_window_s),
            scale_down_delay_s=read.duration_s("scale-down-delay", default.scale_down_delay_s),
            scale_to_zero_grace_period_s=read.duration_s(
                "scale-to-zero-grace-period", default.scale_to_zero_grace_period_s
            ),
            scale_to_zero_pod_retention_period_s=read.duration_s(
                "scale-to-zero-pod-retention-period", default.scale_to_zero_pod_retention_period_s
            ),
        )
        problem = _problem(config)
        if problem is not None:
            raise InvalidConfig(problem)
        return config


def _problem(c: AutoscalerConfig) -> str | None:
    """Return what is wrong first, in the original's order and words, or None.

    Comparisons are written so that NaN passes them, as it does in Go.
    """
    seconds, number = gotext.format_duration, _go_float
    target = c.container_concurrency_target_fraction * c.container_concurrency_target_default
    if c.scale_to_zero_grace_period_s <= 0:
        return f"scale-to-zero-grace-period must be positive, was: {seconds(c.scale_to_zero_grace_period_s)}"
    if c.scale_to_zero_pod_retention_period_s < 0:
        retention = seconds(c.scale_to_zero_pod_retention_period_s)
        return f"scale-to-zero-pod-retention-period cannot be negative, was: {retention}"
    if c.scale_down_delay_s < 0:
        return f"scale-down-delay cannot be negative, was: {seconds(c.scale_down_delay_s)}"
    if c.scale_down_delay_s % 1:
        return f"scale-down-delay = {seconds(c.scale_down_delay_s)}, must be specified with at most second precision"
    if c.target_burst_capacity < 0 and c.target_burst_capacity != -1:
        return (
            "target-burst-capacity must be either non-negative or -1 (for unlimited), "
            f"was: {_go_fixed(c.target_burst_capacity)}"
        )
    if c.container_concurrency_target_fraction <= 0 or c.container_concurrency_target_fraction > 1:
        fraction = _go_fixed(c.container_concurrency_target_fraction)
        return f"container-concurrency-target-percentage = {fraction} is outside of valid range of (0, 100]"
    if target < TARGET_MIN:
        return (
            "container-concurrency-target-percentage and container-concurrency-target-default yield target "
            f"concurrency of {number(target)}, can't be less than {TARGET_MIN}"
        )
    if c.rps_target_default < TARGET_MIN:
        return f"requests-per-second-target-default must be at least {TARGET_MIN}, was: {number(c.rps_target_default)}"
    if c.activator_capacity < 1:
        return f"activator-capacity = {number(c.activator_capacity)}, must be at least 1"
    if c.max_scale_up_rate <= 1:
        return f"max-scale-up-rate = {number(c.max_scale_up_rate)}, must be greater than 1.0"
    if c.max_scale_down_rate <= 1:
        return f"max-scale-down-rate = {number(c.max_scale_down_rate)}, must be greater than 1.0"
    if c.stable_window_s < STABLE_WINDOW_MIN_S or c.stable_window_s > STABLE_WINDOW_MAX_S:
        bounds = f"[{seconds(STABLE_WINDOW_MIN_S)}; {seconds(STABLE_WINDOW_MAX_S)}]"
        return f"stable-window = {seconds(c.stable_window_s)}, must be in {bounds} range"
    if c.stable_window_s % 1:
        return f"stable-window = {seconds(c.stable_window_s)}, must be specified with at most second precision"
    if c.panic_window_percentage < 1 or c.panic_window_percentage > 100:
        return f"panic-window-percentage = {number(c.panic_window_percentage)}, must be in [1, 100] interval"
    if c.initial_scale < 0 or (c.initial_scale == 0 and not c.allow_zero_initial_scale):
        rule = "must be at least 0 (or at least 1 when allow-zero-initial-scale is false)"
        return f"initial-scale = {c.initial_scale}, {rule}"
    if c.max_scale_limit < 0:
        return f"max-scale-limit = {c.max_scale_limit}, must be at least 0"
    if c.max_scale < 0:
        return f"max-scale = {c.max_scale}, must be at least 0"
    if c.max_scale_limit > 0 and not 1 <= c.max_scale <= c.max_scale_limit:
        return f"max-scale = {c.max_scale}, must be in [1, max-scale-limit({c.max_scale_limit})] range"
    if c.min_scale < 0:
        return f"min-scale = {c.min_scale}, must be at least 0"
    if c.max_scale > 0 and c.min_scale > c.max_scale:
        return f"min-scale = {c.min_scale}, must be at most max-scale({c.max_scale})"
    return None


class _Reader:
    """Values of a map by key; a bad one raises `InvalidConfig` with the text that Go's parser gives."""

    def __init__(self, data: Mapping[str, str]) -> None:
        self._data = data

    def boolean(self, key: str, default: bool) -> bool:
        return self._parsed(key, gotext.parse_bool, default, lambda text: _strconv("ParseBool", text))

    def number(self, key: str, default: float) -> float:
        return self._parsed(key, gotext.parse_float, default, lambda text: _strconv("ParseFloat", text))

    def int32(self, key: str, default: int) -> int:
        return self._parsed(
            key, lambda text: gotext.parse_int(text, bits=32), default, lambda text: _strconv("ParseInt", text)
        )

    def duration_s(self, key: str, default: float) -> float:
        return self._parsed(key, gotext.parse_duration_s, default, _duration_problem)

    def _parsed(self, key: str, parse: Callable[[str], T], default: T, explain: Callable[[str], str]) -> T:
        text = self._data.get(key)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise InvalidConfig(f'failed to parse data: failed to parse "{key}": {explain(text)}') from error


def _as_fraction(percentage: float) -> float:
    return percentage / 100 if percentage > 1 else percentage


def _strconv(function: str, text: str) -> str:
    number = re.fullmatch(r"[+-]?[0-9]+", text) or (function == "ParseFloat" and re.fullmatch(r"[0-9eE.+-]+", text))
    problem = "value out of range" if number and function != "ParseBool" else "invalid syntax"
    return f'strconv.{function}: parsing "{text}": {problem}'


def _duration_problem(text: str) -> str:
    rest = re.sub(r"^[+-]", "", text)
    while match := re.match(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)", rest):
        if not match[1]:
            return f'time: missing unit in duration "{text}"'
        if match[1] not in ("ns", "us", "µs", "μs", "ms", "s", "m", "h"):
            return f'time: unknown unit "{match[1]}" in duration "{text}"'
        rest = rest[match.end() :]
    return f'time: invalid duration "{text}"'


def _go_float(value: float) -> str:
    """`%v`: the shortest text that reads back, without a needless `.0`."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    text = repr(value)
    return text.removesuffix(".0")


def _go_fixed(value: float) -> str:
    """`%f`."""
    return f"{value:.6f}" if math.isfinite(value) else _go_float(value)
