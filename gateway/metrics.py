"""What a gateway tells of itself: what it serves, and what it sends to Envoys. Looked up when somebody reads it."""

from collections.abc import Callable

from gateway.programmer import Programmer
from gateway.xds import PUSH_ORDER, XdsServer
from proxies.metrics.instruments import Registry

__all__ = ["add_gateway_metrics"]


def add_gateway_metrics(
    registry: Registry, *, xds: XdsServer, programmer: Programmer, unready: Callable[[], int]
) -> None:
    """Add the instruments. `unready`: how many Ingresses are ours and not proved to be served."""
    scope = registry.scope("knuv.dev/gateway")
    streams = scope.gauge("knuv.gateway.xds.streams", unit="{stream}", description="Envoys that are connected.")
    pushes = scope.counter("knuv.gateway.xds.pushes", unit="{response}", description="Responses that were sent.")
    sent = scope.counter("knuv.gateway.xds.pushed", unit="By", description="Content of the resources in them.")
    refusals = scope.counter("knuv.gateway.xds.refusals", unit="{response}", description="Responses that were refused.")
    hosts = scope.gauge("knuv.gateway.hosts", unit="{host}", description="Virtual hosts of a face.")
    clusters = scope.gauge("knuv.gateway.clusters", unit="{cluster}", description="Backends that are offered.")
    ingresses = scope.gauge("knuv.gateway.ingresses", unit="{ingress}", description="Ingresses that are translated.")
    waiting = scope.gauge("knuv.gateway.ingresses.unready", unit="{ingress}", description="Ingresses not served yet.")

    def read() -> None:
        streams.series().set(xds.stream_count)
        for type_url in PUSH_ORDER:
            kind = {"type": type_url.rpartition(".")[2]}
            counts = xds.counts[type_url]
            pushes.series(kind).set(counts.responses)
            sent.series(kind).set(counts.content_bytes)
            refusals.series(kind).set(counts.refusals)
        for face, count in programmer.host_counts().items():
            hosts.series({"face": face}).set(count)
        clusters.series().set(programmer.backend_count)
        ingresses.series().set(programmer.ingress_count)
        waiting.series().set(unready())

    registry.before_collection(read)
