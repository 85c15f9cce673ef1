"""Metrics of a control plane's process: what `config-observability` asks for, begun in one call.

Nothing of it is loaded while they are off.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kube.telemetry import Exporter, MetricsExport, resource_attributes
from proxies.logs import Logger

if TYPE_CHECKING:
    from proxies.metrics.instruments import Registry

__all__ = ["start_exporting"]


async def start_exporting(
    component: str,
    data: Mapping[str, str],
    variables: Mapping[str, str],
    add: Callable[["Registry"], None],
    *,
    config_map: str,
    namespace: str,
    pod_name: str,
    bind_address: str,
    log: Logger,
) -> Exporter | None:
    """Let `add` put its instruments into a registry, and export it; None when metrics are off.

    `data` is that of the ConfigMap named `config_map`, `variables` what overrides it (`telemetry_variables`). Raises
    `ConfigError`, or `OSError` when the port cannot be had.
    """
    export = MetricsExport.read(data, variables, config_map=config_map)
    if export.missing_protocol:
        log.warning("metrics_off", protocol=export.missing_protocol, expected="prometheus or http/protobuf")
    if not export.is_on:
        return None
    from proxies.metrics.instruments import Registry
    from proxies.metrics.process import add_runtime_metrics

    registry = Registry(resource_attributes(component, namespace=namespace, pod_name=pod_name, variables=variables))
    add(registry)
    add_runtime_metrics(registry)
    exporter = export.exporter(registry, bind_address=bind_address, log=log)
    await exporter.start()
    return exporter
