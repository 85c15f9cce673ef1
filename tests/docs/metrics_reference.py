"""`docs/metrics-reference.md`: every instrument of every program, as the code registers it.

`python -m tests.docs.metrics_reference` writes the page, and a test compares the two.
"""

from collections.abc import Iterator
from typing import Final
from unittest.mock import MagicMock

from proxies.metrics.exposition import metric_name
from proxies.metrics.instruments import Registry
from proxies.metrics.process import add_process_series, add_runtime_metrics
from tests.docs.reference import ROOT

__all__ = ["PAGE", "render"]

PAGE: Final = ROOT / "docs" / "metrics-reference.md"

_HEAD: Final = """# Metrics reference

Every metric of every program, with its name in OpenTelemetry (OTLP) and in Prometheus, from the code by `make docs`.
How they are switched on, which attributes they have and what becomes of each exchange: [metrics](metrics.md) for
queue-proxy, and the pages of [activator](activator.md#figures), [autoscaler](autoscaler.md#metrics),
[gateway](gateway.md#metrics) and [broker](broker.md#metrics).
"""


def render() -> str:
    """The page."""
    parts = [_HEAD]
    for title, registry in _registries():
        lines = [f"## {title}\n", "| name | Prometheus | kind | unit | what |", "|---|---|---|---|---|"]
        for scope in registry.scopes:
            for each in scope.instruments:
                exported = metric_name(each)
                name = exported if scope.is_plain else each.name
                unit = f"`{each.unit}`" if each.unit else ""
                lines.append(
                    f"| `{name}` | `{exported}` | {each.kind.value} | {unit} | {_within_a_line(each.description)} |"
                )
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _within_a_line(description: str) -> str:
    text = description.rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _registries() -> Iterator[tuple[str, Registry]]:
    """Each program's own, with what stands for the program itself left out: nothing is read of it."""
    from activator.metrics import ActivatorMetrics
    from autoscaler.metrics import RevisionMetrics
    from broker.channel.metrics import DispatchDuration, OwedMetrics, add_journal_metrics
    from broker.metrics import FILTER_SCOPE, INGRESS_SCOPE, DispatchMetrics, HttpMetrics, JobSinkMetrics
    from gateway.metrics import add_gateway_metrics
    from kube.queue_metrics import add_queue_metrics
    from kube.ready_metrics import add_ready_metrics
    from queue_proxy.metric_names import OpenCensusNames, OpenTelemetryNames
    from sources.metrics import SourceMetrics

    registry = Registry()
    OpenTelemetryNames(registry, user_port="8080", queue_depth=lambda: 0)
    yield "queue-proxy", registry

    registry = Registry()
    OpenCensusNames(registry, labels={}, queue_depth=lambda: 0)
    yield "queue-proxy, names of before OpenTelemetry", registry

    registry = Registry()
    ActivatorMetrics(registry, revisions={}, reporter=MagicMock())
    yield "activator", registry

    registry = Registry()
    RevisionMetrics(registry, scalers=MagicMock(), autoscalers=MagicMock(), pods=MagicMock())
    yield "autoscaler", registry

    registry = Registry()
    add_queue_metrics(registry, [])
    add_ready_metrics(registry, [])
    yield "controller", registry

    registry = Registry()
    add_gateway_metrics(registry, xds=MagicMock(), programmer=MagicMock(), unready=lambda: 0)
    add_queue_metrics(registry, [])
    add_ready_metrics(registry, [])
    yield "gateway", registry

    registry = Registry()
    DispatchMetrics(registry, INGRESS_SCOPE)
    HttpMetrics(registry, "http")
    yield "broker ingress", registry

    registry = Registry()
    DispatchMetrics(registry, FILTER_SCOPE)
    HttpMetrics(registry, "http")
    OwedMetrics(registry)
    yield "broker filter", registry

    registry = Registry()
    DispatchDuration(registry)
    HttpMetrics(registry, "http")
    OwedMetrics(registry)
    add_journal_metrics(registry, lambda: 0)
    yield "broker dispatcher", registry

    registry = Registry()
    JobSinkMetrics(registry)
    HttpMetrics(registry, "http")
    yield "broker job-sink", registry

    registry = Registry()
    SourceMetrics(registry)
    yield "sources", registry

    registry = Registry()
    add_runtime_metrics(registry)
    add_process_series(registry)
    yield "the process, in all of them", registry


def main() -> None:
    """Write the page."""
    PAGE.write_text(render())


if __name__ == "__main__":
    main()
