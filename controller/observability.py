"""The ConfigMap `config-observability`: what the control plane uses of it, and what queue-proxy is told.

Source: knative/serving `pkg/observability/config.go`; spec control-plane.md 11, queue-proxy.md 2.3.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.configmaps import Reader
from kube.autoscaling.config import InvalidConfig
from proxies import gotext

__all__ = ["ObservabilitySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservabilitySettings:
    """`config-observability`, of which Revisions are told."""

    collects_var_log: bool = False
    log_url_template: str = ""
    profiling: bool = False
    for_queue_proxy: Mapping[str, Any] = field(default_factory=dict)
    """The value of `OBSERVABILITY_CONFIG`, as data."""

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> "ObservabilitySettings":
        """Read the map. Raises `InvalidConfig`."""
        read = Reader(data)
        var_log = read.boolean("logging.enable-var-log-collection", False)
        url = read.text("logging.revision-url-template", "")
        request_log = read.boolean("logging.enable-request-log", False)
        template = data.get("logging.request-log-template")
        if request_log and template == "":
            raise InvalidConfig("logging.request-log-template must not be empty when the request log is enabled")
        profiling = read.text("runtime-profiling", "disabled")
        if profiling not in ("enabled", "disabled"):
            raise InvalidConfig(f'unsupported runtime-profiling value "{profiling}"')
        shown: dict[str, Any] = {
            "tracing": _tracing(read),
            "metrics": _metrics(read, "metrics"),
            "runtime": {"profiling": profiling, "exportInterval": _interval_ns(read, "runtime-export-interval", 15.0)},
            "requestMetrics": _metrics(read, "request-metrics"),
            "enableRequestLog": request_log,
            "enableProbeRequestLog": read.boolean("logging.enable-probe-request-log", False),
            "EnableVarLogCollection": var_log,
            "LoggingURLTemplate": url,
        }
        # Left out, queue-proxy keeps its own default template.
        if template is not None:
            shown["requestLogTemplate"] = template
        return cls(
            collects_var_log=var_log, log_url_template=url, profiling=profiling == "enabled", for_queue_proxy=shown
        )

    def log_url(self, revision_uid: str) -> str:
        """Where a Revision's logs are shown, or empty."""
        return self.log_url_template.replace("${REVISION_UID}", revision_uid)

    def queue_proxy_json(self) -> str:
        """`OBSERVABILITY_CONFIG`."""
        return json.dumps(self.for_queue_proxy, separators=(",", ":"))


def _tracing(read: Reader) -> dict[str, Any]:
    protocol = read.text("tracing-protocol", "none")
    endpoint = read.text("tracing-endpoint", "")
    rate = read.number("tracing-sampling-rate", 0.0)
    if protocol not in ("grpc", "http/protobuf", "none", "stdout"):
        raise InvalidConfig(f'unsupported protocol "{protocol}"')
    if protocol in ("grpc", "http/protobuf"):
        if not endpoint:
            raise InvalidConfig(f'endpoint should be set when protocol is "{protocol}"')
    elif endpoint:
        raise InvalidConfig(f'endpoint should not be set when protocol is "{protocol}"')
    if not 0 <= rate <= 1:
        raise InvalidConfig(f"sampling rate {rate:g} should be between 0 and 1")
    return _set(protocol=protocol, endpoint=endpoint, samplingRate=rate)


def _metrics(read: Reader, prefix: str) -> dict[str, Any]:
    protocol = read.text(f"{prefix}-protocol", "none")
    endpoint = read.text(f"{prefix}-endpoint", "")
    if protocol not in ("grpc", "http/protobuf", "prometheus", "none"):
        raise InvalidConfig(f'unsupported protocol "{protocol}"')
    if protocol in ("grpc", "http/protobuf") and not endpoint:
        raise InvalidConfig(f'endpoint should be set when protocol is "{protocol}"')
    if protocol == "none" and endpoint:
        raise InvalidConfig(f'endpoint should not be set when protocol is "{protocol}"')
    interval_ns = _interval_ns(read, f"{prefix}-export-interval", 0.0)
    return _set(protocol=protocol, endpoint=endpoint, exportInterval=interval_ns)


def _interval_ns(read: Reader, key: str, default_s: float) -> int:
    interval_s = read.duration_s(key, default_s)
    if interval_s < 0:
        raise InvalidConfig(f"{key} must be greater than or equal to zero, was {gotext.format_duration(interval_s)}")
    return round(interval_s * 1e9)


def _set(**values: Any) -> dict[str, Any]:
    """What is not zero; Go leaves the rest out."""
    return {key: value for key, value in values.items() if value}
