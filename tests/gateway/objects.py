"""Ingresses, Services and slices for tests, with only what a test cares about spelt out."""

from collections.abc import Mapping

from kube.models.core import EndpointPort, Service, ServicePort, ServiceSpec
from kube.models.discovery import SERVICE_NAME_LABEL, Endpoint, EndpointConditions, EndpointSlice
from kube.models.meta import ObjectMeta
from kube.models.networking import (
    Ingress,
    IngressBackendSplit,
    IngressHTTP,
    IngressPath,
    IngressRule,
    IngressSpec,
)

NAMESPACE = "shop"
CLASS = "knuv.ingress.networking.knative.dev"
CLASS_ANNOTATION = "networking.knative.dev/ingress.class"


def split(service: str, percent: int = 100, port: int | str = 80, **headers: str) -> IngressBackendSplit:
    """A share for a Service of the namespace; a header's `_` stands for `-`."""
    return IngressBackendSplit(
        service_namespace=NAMESPACE,
        service_name=service,
        service_port=port,
        percent=percent,
        append_headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def path(*splits: IngressBackendSplit, prefix: str = "", match: Mapping[str, str] | None = None) -> IngressPath:
    """A path; `match`: header name -> exact value."""
    headers = {name: {"exact": value} for name, value in (match or {}).items()}
    return IngressPath(path=prefix, headers=headers, splits=list(splits))


def rule(*hosts: str, to: str | list[IngressPath] = "web", visibility: str = "ExternalIP") -> IngressRule:
    """Hosts to one Service, or to `to` paths."""
    paths = [path(split(to))] if isinstance(to, str) else to
    return IngressRule(hosts=list(hosts), visibility=visibility, http=IngressHTTP(paths=paths))


def ingress(name: str, *rules: IngressRule, http_option: str = "", class_: str = CLASS) -> Ingress:
    """An Ingress of ours unless `class_` says otherwise; an empty one: no annotation."""
    annotations = {CLASS_ANNOTATION: class_} if class_ else {}
    return Ingress(
        metadata=ObjectMeta(name=name, namespace=NAMESPACE, annotations=annotations),
        spec=IngressSpec(rules=list(rules), http_option=http_option),
    )


def service(
    name: str, *ports: ServicePort, type_: str = "", external_name: str = "", annotations: dict[str, str] | None = None
) -> Service:
    """A Service; without ports: `http`, 80."""
    return Service(
        metadata=ObjectMeta(name=name, namespace=NAMESPACE, annotations=annotations or {}),
        spec=ServiceSpec(
            type=type_, external_name=external_name, ports=list(ports) or [ServicePort(name="http", port=80)]
        ),
    )


def endpoint_slice(
    service_name: str,
    *endpoints: str | tuple[str, bool | None],
    ports: Mapping[str, int] | None = None,
    name: str = "",
) -> EndpointSlice:
    """Addresses of a Service, each ready unless it says otherwise; `ports`: name -> number, by default http 8012."""
    pairs = [(each, True) if isinstance(each, str) else each for each in endpoints]
    return EndpointSlice(
        metadata=ObjectMeta(
            name=name or f"{service_name}-1", namespace=NAMESPACE, labels={SERVICE_NAME_LABEL: service_name}
        ),
        address_type="IPv4",
        endpoints=[
            Endpoint(addresses=[address], conditions=EndpointConditions(ready=ready)) for address, ready in pairs
        ],
        ports=[EndpointPort(name=key, port=number) for key, number in (ports or {"http": 8012}).items()],
    )
