"""The annotation `autoscaling.knuv.dev/metric-url`: where the gauge is that a revision scales by.

`:<port>/<path>#<name>`, for instance `:8000/metrics#vllm:num_requests_waiting`: the pod's port, the path (and query) of
its Prometheus endpoint, and the metric's name. There is no host: only the revision's own pods are asked. An extension
of ours, beside the metrics `concurrency` and `rps` of the original.
"""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["MetricUrl"]

_LENGTH_MAX: Final = 1024
# The path goes into a request line as it is: visible ASCII only. The name as Prometheus' data model has it.
_TEXT: Final = re.compile(r":(?P<port>[1-9][0-9]{0,4})(?P<path>/[!\"$-~]*)#(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)")


@dataclass(frozen=True, slots=True)
class MetricUrl:
    """A gauge at each pod of a revision."""

    port: int
    path: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "MetricUrl":
        """Read the annotation. Raises `ValueError` saying what was expected."""
        match = _TEXT.fullmatch(text) if len(text) <= _LENGTH_MAX else None
        if match is None or int(match["port"]) >= 1 << 16:
            raise ValueError(f"expected :<port>/<path>#<metric name>, got {text[:_LENGTH_MAX]}")
        return cls(int(match["port"]), match["path"], match["name"])

    def __str__(self) -> str:
        return f":{self.port}{self.path}#{self.name}"
