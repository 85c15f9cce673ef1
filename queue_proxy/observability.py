"""What is told about requests, and to whom: `OBSERVABILITY_CONFIG` and the variables that override it.

The controller marshals the cluster's `config-observability` into one JSON text; it is decoded over the defaults, as Go
does it. Everything is off unless it is asked for, and what is off imports nothing.

Source: spec queue-proxy.md 2.2, 2.3, 17.1, 17.3, 18; knative.dev/pkg `observability/`.
"""

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from proxies import gojson, gotext
from proxies.environment import Environment
from proxies.gojson import GoObject

if TYPE_CHECKING:
    from proxies.metrics.scraped import Listener
    from proxies.otlp import Endpoint

__all__ = [
    "NOTHING",
    "Observability",
    "Protocol",
    "RequestMetrics",
    "Tracing",
    "resource_attributes",
]

METRICS_PORT: Final = 9091
PROFILING_PORT: Final = 8008
_EXPORT_INTERVAL_S: Final = 60.0
"""OpenTelemetry's default where `exportInterval` is absent or 0."""

_TEMPLATE: Final = "requestLogTemplate"


class Protocol(Enum):
    """How telemetry leaves the process."""

    NONE = "none"
    GRPC = "grpc"
    """OTLP over gRPC."""
    HTTP = "http/protobuf"
    """OTLP over HTTP."""
    PROMETHEUS = "prometheus"
    """Scraped; metrics only."""
    STDOUT = "stdout"
    """Traces only."""


# Named tuples and not dataclasses: each of those costs a start 0.7 ms, these a tenth of it.


class Tracing(NamedTuple):
    """`tracing`, with `OTEL_TRACES_*` and `OTEL_EXPORTER_OTLP_*`."""

    protocol: Protocol = Protocol.NONE
    endpoint: str = ""
    """As configured, for messages."""
    otlp: "Endpoint | None" = None
    """Where spans are pushed to; only with `http/protobuf`."""
    sampling_rate: float = 0.0
    """`samplingRate`: 1 or more: every request; 0 or less: none."""
    sampler: str = ""
    """`OTEL_TRACES_SAMPLER`; empty: the rules of spec queue-proxy.md 18 apply."""
    sampler_argument: str = ""
    """`OTEL_TRACES_SAMPLER_ARG`, as text; without a `sampler` it is empty or a number."""


class RequestMetrics(NamedTuple):
    """`requestMetrics`, with the variables of spec queue-proxy.md 17.1."""

    protocol: Protocol = Protocol.NONE
    endpoint: str = ""
    """As configured, for messages."""
    otlp: "Endpoint | None" = None
    """Where metrics are pushed to; only with `http/protobuf`."""
    interval_s: float = _EXPORT_INTERVAL_S
    """Between two pushes."""
    listener: "Listener | None" = None
    """Where they are scraped; only with `prometheus`."""
    has_opentelemetry_names: bool = True
    has_opencensus_names: bool = False
    """Also, or instead, the `revision_*` names of before OpenTelemetry. `KNUV_METRICS_COMPAT`."""


class Observability(NamedTuple):
    """All of it."""

    tracing: Tracing = Tracing()
    request_metrics: RequestMetrics = RequestMetrics()
    profiling: bool = False
    """`runtime.profiling` is `enabled`."""
    profiling_port: int = PROFILING_PORT
    """`PROFILING_PORT`."""
    request_log: bool = False
    """`enableRequestLog`."""
    request_log_template: str | None = None
    """`requestLogTemplate`: Go's text/template. None: the default one."""
    probe_request_log: bool = False
    """`enableProbeRequestLog`: probes are logged, too."""
    service_name: str = ""
    """The resource attribute `service.name`."""
    pod_name: str = ""
    """The resource attributes `service.instance.id` and `k8s.pod.name`: `POD_NAME`, else `HOSTNAME`."""

    @classmethod
    def from_env(cls, env: Environment) -> "Observability":
        """Read it; `env` keeps what is wrong."""
        configured = env.parsed("OBSERVABILITY_CONFIG", _decode, NOTHING, NOTHING)
        pod_name = env.text("POD_NAME", "") or env.text("HOSTNAME", "")
        names = ("OTEL_SERVICE_NAME", "SERVING_SERVICE", "SERVING_CONFIGURATION", "SERVING_REVISION")
        return configured._replace(
            tracing=_tracing(env, configured.tracing),
            request_metrics=_request_metrics(env, configured.request_metrics),
            profiling_port=env.integer("PROFILING_PORT", PROFILING_PORT),
            service_name=next((text for name in names if (text := env.text(name, ""))), pod_name),
            pod_name=pod_name,
        )


NOTHING: Final = Observability()
"""Everything off."""


def resource_attributes(observability: Observability, *, namespace: str, **names: str) -> dict[str, str]:
    """Return the attributes that say who reports (spec queue-proxy.md 17.3).

    `names`: `service`, `configuration` and `revision`. What is empty is left out.
    """
    attributes = {
        "service.name": observability.service_name,
        "service.version": "unknown",
        "service.instance.id": observability.pod_name,
        "k8s.pod.name": observability.pod_name,
        "k8s.namespace.name": namespace,
        "container.name": "queue-proxy",
        **{f"kn.{kind}.name": name for kind, name in names.items()},
    }
    return {key: value for key, value in attributes.items() if value}


def _decode(text: str) -> Observability:
    """Return what the JSON says; empty text says nothing. Raises `ValueError`."""
    if not text:
        return NOTHING
    settings = GoObject(gojson.decode(text))
    empty = GoObject(None)
    settings.object("metrics")  # Not for us, but an object all the same.
    tracing = settings.object("tracing") or empty
    runtime = settings.object("runtime") or empty
    metrics = settings.object("requestMetrics") or empty
    profiling = runtime.text("profiling", "disabled")
    if profiling not in ("enabled", "disabled", ""):
        raise runtime.error("profiling", f"expected enabled or disabled, got {profiling!r}")
    runtime.int64("exportInterval")  # How old readings may be: ours are made when somebody asks.
    interval_ns = metrics.int64("exportInterval")
    if interval_ns < 0:
        raise metrics.error("exportInterval", f"expected nanoseconds, got {interval_ns}")
    return Observability(
        tracing=Tracing(
            protocol=_protocol(tracing, Protocol.GRPC, Protocol.HTTP, Protocol.STDOUT),
            endpoint=tracing.text("endpoint"),
            sampling_rate=tracing.number("samplingRate"),
        ),
        request_metrics=RequestMetrics(
            protocol=_protocol(metrics, Protocol.PROMETHEUS, Protocol.GRPC, Protocol.HTTP),
            endpoint=metrics.text("endpoint"),
            interval_s=interval_ns / 1e9 if interval_ns else _EXPORT_INTERVAL_S,
        ),
        profiling=profiling == "enabled",
        request_log=settings.boolean("enableRequestLog"),
        request_log_template=None if settings.get(_TEMPLATE) is None else settings.text(_TEMPLATE),
        probe_request_log=settings.boolean("enableProbeRequestLog"),
    )


def _protocol(section: GoObject, *allowed: Protocol) -> Protocol:
    text = section.text("protocol") or Protocol.NONE.value
    for protocol in (Protocol.NONE, *allowed):
        if text == protocol.value:
            return protocol
    names = ", ".join(protocol.value for protocol in (Protocol.NONE, *allowed))
    raise section.error("protocol", f"expected one of {names}, got {text!r}")


def _tracing(env: Environment, tracing: Tracing) -> Tracing:
    if tracing.protocol is Protocol.NONE:
        return tracing
    sampler = env.text("OTEL_TRACES_SAMPLER", "")
    argument = env.text("OTEL_TRACES_SAMPLER_ARG", "")
    if argument and not sampler:
        env.parsed("OTEL_TRACES_SAMPLER_ARG", gotext.parse_float, 0.0, 0.0)
    otlp = _otlp(env, "traces", tracing.endpoint) if tracing.protocol is Protocol.HTTP else None
    return tracing._replace(otlp=otlp, sampler=sampler, sampler_argument=argument)


def _request_metrics(env: Environment, metrics: RequestMetrics) -> RequestMetrics:
    if metrics.protocol is Protocol.NONE:
        return metrics
    formats = env.parsed("KNUV_METRICS_COMPAT", _formats, ("otel",), ())
    metrics = metrics._replace(has_opentelemetry_names="otel" in formats, has_opencensus_names="opencensus" in formats)
    if metrics.protocol is Protocol.PROMETHEUS:
        from proxies.metrics.scraped import listener_of

        source = "OBSERVABILITY_CONFIG: requestMetrics.endpoint"
        listener = listener_of(env, metrics.endpoint, endpoint_from=source, default_port=METRICS_PORT)
        return metrics._replace(listener=listener)
    interval_ms = env.integer("OTEL_METRIC_EXPORT_INTERVAL", 0)
    if interval_ms > 0:
        metrics = metrics._replace(interval_s=interval_ms / 1000)
    otlp = _otlp(env, "metrics", metrics.endpoint) if metrics.protocol is Protocol.HTTP else None
    return metrics._replace(otlp=otlp)


def _formats(text: str) -> tuple[str, ...]:
    formats = tuple(each.strip() for each in text.split(","))
    if not set(formats) <= {"otel", "opencensus"}:
        raise ValueError("expected otel, opencensus or both with a comma between")
    return formats


def _otlp(env: Environment, signal: str, endpoint: str) -> "Endpoint | None":
    from proxies.otlp import endpoint_of

    return endpoint_of(env, signal, endpoint, endpoint_from="OBSERVABILITY_CONFIG")
