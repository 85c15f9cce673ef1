"""What sources measure: the time that each attempt took, by source and type of event.

Source: spec eventing-sources.md 1.5; OpenTelemetry semantic conventions "HTTP metrics".
"""

from typing import Final

from proxies.metrics.instruments import Registry

__all__ = ["SourceMetrics"]

_SCOPE: Final = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class SourceMetrics:
    """Adds its instrument to a registry and is told of attempts."""

    def __init__(self, registry: Registry) -> None:
        self._duration = registry.scope(_SCOPE).histogram(
            "http.client.request.duration", _BOUNDS_S, unit="s", description="Duration of HTTP client requests."
        )

    def attempted(self, namespace: str, name: str, event_type: str, status: int, took_s: float) -> None:
        """An attempt to deliver an event has ended; `status` 0: there was no answer."""
        result = {"http.response.status_code": status} if status else {"error.type": "_OTHER"}
        about = {"kn.source.name": name, "kn.source.namespace": namespace, "cloudevents.type": event_type}
        self._duration.series({"http.request.method": "POST", **result, **about}).record(took_s)
