"""Prometheus' text format, version 0.0.4, in the names and labels that OpenTelemetry's exporter for Go gives.

    http.server.request.duration, unit s    http_server_request_duration_seconds_bucket{http_request_method="GET",...}
    resource attributes                     one series target_info
    scope                                   labels otel_scope_name, otel_scope_version, otel_scope_schema_url

Source: prometheus.io "Exposition formats"; OpenTelemetry "Prometheus and OpenMetrics Compatibility"; spec
queue-proxy.md 17.2.
"""

import re
from collections.abc import Iterable, Mapping
from math import inf, isinf, isnan
from typing import Final

from proxies.metrics.instruments import Attributes, Distribution, Instrument, Kind, Number, Registry, Scope
from proxies.metrics.slices import Steps, finish

__all__ = ["CONTENT_TYPE", "metric_name", "render", "steps"]

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

_UNIT_SUFFIXES: Final[Mapping[str, str]] = {
    "d": "_days",
    "h": "_hours",
    "min": "_minutes",
    "s": "_seconds",
    "ms": "_milliseconds",
    "us": "_microseconds",
    "By": "_bytes",
    "%": "_percent",
}
"""Units in braces only explain, and add nothing."""
_PER_SUFFIXES: Final[Mapping[str, str]] = {"s": "_per_second", "m": "_per_minute", "h": "_per_hour", "d": "_per_day"}
"""Of what stands behind a slash."""
_STEP_SERIES: Final = 64
_NOT_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def render(registry: Registry) -> bytes:
    """Return everything that `registry` knows, families in alphabetical order."""
    return finish(steps(registry))


def steps(registry: Registry) -> Steps[bytes]:
    """Do the same in steps of some dozens of series."""
    registry.collect()
    families: list[tuple[str, Instrument[Number] | Instrument[Distribution]]] = sorted(
        ((metric_name(instrument), instrument) for scope in registry.scopes for instrument in scope.instruments),
        key=lambda family: family[0],
    )
    parts: list[bytes] = []
    lines: list[str] = []
    for name, instrument in families:
        all_series: Iterable[Number | Distribution] = instrument.all_series()
        for count, series in enumerate(all_series):
            if count == 0:
                _head(lines, name, instrument.description, instrument.kind)
            elif count % _STEP_SERIES == 0:
                parts.append(_text(lines))
                lines.clear()
                yield
            labels = series.labels
            if not labels:
                labels = series.labels = _labels(series.attributes, instrument.scope)
            if isinstance(series, Distribution):
                _distribution(lines, name, labels, series)
            else:
                lines.append(f"{name}{labels} {_value(series.value)}")
    if registry.resource:
        _head(lines, "target_info", "Target metadata", Kind.GAUGE)
        lines.append(f"target_info{_labels(registry.resource, None)} 1")
    parts.append(_text(lines))
    return b"".join(parts)


def metric_name(instrument: Instrument[Number] | Instrument[Distribution]) -> str:
    """Return the name of an instrument's family: with its unit, and `_total` for a counter."""
    if instrument.scope.is_plain:
        return instrument.name
    name = _NOT_NAME.sub("_", instrument.name)
    unit, _, per = instrument.unit.partition("/")
    suffix = _UNIT_SUFFIXES.get(unit, "") + _PER_SUFFIXES.get(per, "")
    if instrument.unit == "1" and instrument.kind is Kind.GAUGE:
        suffix = "_ratio"
    name = name.removesuffix("_total").removesuffix(suffix) + suffix
    return name + "_total" if instrument.kind is Kind.COUNTER else name


def _text(lines: list[str]) -> bytes:
    lines.append("")
    return "\n".join(lines).encode()


def _head(lines: list[str], name: str, description: str, kind: Kind) -> None:
    if description:
        text = description.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {name} {text}")
    lines.append(f"# TYPE {name} {kind.value}")


def _distribution(lines: list[str], name: str, labels: str, series: Distribution) -> None:
    """Write cumulative buckets, sum and count."""
    opened = f"{name}_bucket{labels[:-1]}," if labels else f"{name}_bucket{{"
    below = 0
    for bound, count in zip((*series.bounds, inf), series.counts, strict=True):
        below += count
        lines.append(f'{opened}le="{_value(bound)}"}} {below}')
    lines.append(f"{name}_sum{labels} {_value(series.total)}")
    lines.append(f"{name}_count{labels} {below}")


def _labels(attributes: Attributes, scope: Scope | None) -> str:
    """Return the labels in braces, sorted by name; empty when there are none."""
    labels = {_NOT_NAME.sub("_", name): _label_value(value) for name, value in attributes.items()}
    if scope is not None and not scope.is_plain:
        labels |= {"otel_scope_name": scope.name, "otel_scope_version": scope.version, "otel_scope_schema_url": ""}
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in sorted(labels.items())) + "}"


def _label_value(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(value: float) -> str:
    """Return a number as Go would write it where that is read as a label (`le="10000"`, not `1e4` or `10000.0`)."""
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
