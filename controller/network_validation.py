"""DomainMapping, Ingress, ServerlessService and Certificate: defaults and checks.

Users write the first; the others are written by programs, of which there may be several. Source: spec control-plane.md
4.7, 10; ingress.md 2; knative.dev/networking `pkg/apis/networking/v1alpha1/*_{defaults,validation}.go`.
"""

from collections.abc import Iterator
from typing import Any

from controller.defaulting import stamp, without_nulls
from controller.field_errors import FieldError, at, at_index, disallowed, invalid_value, missing, out_of_bounds
from controller.names import is_dns_1123_label, is_dns_1123_subdomain
from controller.settings import Settings
from controller.validation import check_authors

__all__ = [
    "check_certificate",
    "check_domain_mapping",
    "check_ingress",
    "check_serverless_service",
    "default_domain_mapping",
    "default_ingress",
]

JsonObject = dict[str, Any]

_VISIBILITIES = ("ExternalIP", "ClusterLocal")
_HTTP_OPTIONS = ("", "Enabled", "Redirected")


def default_domain_mapping(obj: JsonObject, old: JsonObject | None, _settings: Settings, username: str) -> JsonObject:
    """A DomainMapping leads to something in its own namespace."""
    obj["spec"] = spec = without_nulls(obj.get("spec") or {})
    ref = spec.setdefault("ref", {})
    if not ref.get("namespace") and obj["metadata"].get("namespace"):
        ref["namespace"] = obj["metadata"]["namespace"]
    stamp(obj, old, username)
    return obj


def default_ingress(obj: JsonObject, _old: JsonObject | None, _settings: Settings, _username: str) -> JsonObject:
    """Rules are external, and a lone split takes everything."""
    obj["spec"] = spec = without_nulls(obj.get("spec") or {})
    for rule in spec.get("rules") or []:
        rule["visibility"] = rule.get("visibility") or "ExternalIP"
        for path in (rule.get("http") or {}).get("paths") or []:
            splits = path.get("splits") or []
            if len(splits) == 1 and not splits[0].get("percent"):
                splits[0]["percent"] = 100
    return obj


def check_domain_mapping(
    obj: JsonObject, old: JsonObject | None, _settings: Settings, *, cluster_domain: str
) -> Iterator[FieldError]:
    """A DomainMapping; its name is the domain."""
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    name = meta.get("name") or ""
    if meta.get("generateName"):
        yield disallowed("metadata.generateName")
    if not _is_domain(name):
        yield invalid_value(name, "metadata.name", "expected a fully qualified domain name such as shop.example.com")
    elif name.endswith(f".{cluster_domain}"):
        text = f'invalid name "{name}": must not be a subdomain of cluster local domain "{cluster_domain}"'
        yield FieldError(text, ("metadata.name",))
    ref = spec.get("ref") or {}
    for field in ("kind", "name", "apiVersion"):
        if not ref.get(field):
            yield missing(f"spec.ref.{field}")
    namespace = ref.get("namespace")
    if namespace and namespace != meta.get("namespace"):
        details = f'parent namespace: "{meta.get("namespace", "")}" does not match ref: "{namespace}"'
        yield FieldError("mismatched namespaces", ("spec.ref.namespace",), details)
    if old is not None:
        yield from at("metadata.annotations", check_authors(obj, old))


def check_ingress(obj: JsonObject, _old: JsonObject | None, _settings: Settings) -> Iterator[FieldError]:
    """An Ingress, after its defaults."""
    spec, namespace = obj.get("spec") or {}, (obj.get("metadata") or {}).get("namespace") or ""
    if not spec:
        yield missing("spec")
        return
    if not spec.get("rules"):
        yield missing("spec.rules")
    for index, rule in enumerate(spec.get("rules") or []):
        yield from at("spec", at_index("rules", index, _rule(rule, namespace)))
    for index, entry in enumerate(spec.get("tls") or []):
        absent = [name for name in ("secretName", "secretNamespace") if not entry.get(name)]
        for name in absent:
            yield missing(f"spec.tls[{index}].{name}")
    if spec.get("httpOption", "") not in _HTTP_OPTIONS:
        yield invalid_value(spec["httpOption"], "spec.httpOption")


def check_serverless_service(obj: JsonObject, _old: JsonObject | None, _settings: Settings) -> Iterator[FieldError]:
    """A ServerlessService."""
    spec = obj.get("spec") or {}
    if not spec.get("mode"):
        yield missing("spec.mode")
    elif spec["mode"] not in ("Proxy", "Serve"):
        yield invalid_value(spec["mode"], "spec.mode")
    if (spec.get("numActivators") or 0) < 0:
        yield invalid_value(spec["numActivators"], "spec.numActivators")
    if not spec.get("objectRef"):
        yield missing("spec.objectRef")


def check_certificate(obj: JsonObject, _old: JsonObject | None, _settings: Settings) -> Iterator[FieldError]:
    """A Certificate."""
    spec = obj.get("spec") or {}
    names = spec.get("dnsNames") or []
    if not names:
        yield missing("spec.dnsNames")
    for index, name in enumerate(names):
        if not name:
            yield invalid_value("", f"spec.dnsNames[{index}]")
    domain = spec.get("domain")
    if domain and not any(name == domain or str(name).endswith(f".{domain}") for name in names):
        yield invalid_value(domain, "spec.domain")
    if not spec.get("secretName"):
        yield missing("spec.secretName")


def _rule(rule: JsonObject, namespace: str) -> Iterator[FieldError]:
    if rule.get("visibility") not in _VISIBILITIES:
        yield invalid_value(rule.get("visibility"), "visibility")
    http = rule.get("http")
    if not http:
        yield missing("http")
        return
    if not http.get("paths"):
        yield missing("http.paths")
    for index, path in enumerate(http.get("paths") or []):
        yield from at("http", at_index("paths", index, _path(path, namespace)))


def _path(path: JsonObject, namespace: str) -> Iterator[FieldError]:
    splits = path.get("splits") or []
    if not splits:
        yield missing("splits")
        return
    for index, split in enumerate(splits):
        yield from at_index("splits", index, _split(split, namespace))
    total = sum(split.get("percent") or 0 for split in splits)
    if total != 100:
        yield FieldError(f"traffic split percentage must total to 100, but was {total}", ("splits",))


def _split(split: JsonObject, namespace: str) -> Iterator[FieldError]:
    percent = split.get("percent") or 0
    if not 0 <= percent <= 100:
        yield out_of_bounds(percent, 0, 100, "percent")
    for name in ("serviceNamespace", "serviceName", "servicePort"):
        if not split.get(name):
            yield missing(name)
    if split.get("serviceNamespace") and split["serviceNamespace"] != namespace:
        text = "service namespace must match ingress namespace"
        yield FieldError(f"invalid value: {split['serviceNamespace']}", ("serviceNamespace",), text)


def _is_domain(name: str) -> bool:
    """At least two labels that DNS allows."""
    return is_dns_1123_subdomain(name) and "." in name and all(map(is_dns_1123_label, name.split(".")))
