"""A trace for each event, begun at its source, so that brokers, channels and subscribers go on with the same one.

No spans are exported: who looks at a trace sees what came of the event. Without a protocol for traces in
`config-observability` there is no trace context either, as in the original. Source: spec eventing-sources.md 1.3; W3C
Trace Context 3.2; OpenTelemetry SDK "TraceIdRatioBased".
"""

import random
from collections.abc import Callable, Mapping

from kube.tracing_settings import TracingSettings

__all__ = ["Tracing"]


class Tracing:
    """What is told of traces in the requests of one process."""

    __slots__ = ("_bits", "_rate")

    def __init__(self, rate: float | None = None, bits: Callable[[int], int] = random.getrandbits) -> None:
        """`rate`: how many of the traces are to be kept, from 0 to 1; None: nothing is told. `bits`: random ones."""
        self._rate = rate
        self._bits = bits

    @classmethod
    def read(cls, data: Mapping[str, str], variables: Mapping[str, str]) -> "Tracing":
        """From the data of ConfigMap `config-observability`, and what overrides it. Raises `ConfigError`."""
        settings = TracingSettings.read(data, variables, config_map="config-observability")
        return cls(None if settings.protocol == "none" else settings.sampling_rate)

    def line(self) -> bytes:
        """Return the header line, with its end, of an event's requests; empty when nothing is told."""
        if self._rate is None:
            return b""
        # Ids of zeros only would be none.
        trace, span = self._bits(128) or 1, self._bits(64) or 1
        is_kept = (trace & (1 << 64) - 1) >> 1 < self._rate * (1 << 63)
        return b"traceparent: 00-%032x-%016x-%02x\r\n" % (trace, span, is_kept)
