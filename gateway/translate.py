"""An Ingress as virtual hosts for Envoy. Pure: objects in, serialised protobuf messages out.

Per rule and host there is a virtual host on one or more faces: ExternalIP rules are served on the external and the
internal face, ClusterLocal ones on the internal face only; a rule with a certificate also on the TLS face of its
visibility (spec ingress.md 5.4).

Virtual hosts are made as bytes, once, when their Ingress changes: a face is their concatenation, which protobuf allows
for repeated fields. So a change costs what changed, and not what there is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.any_pb2 import Any as Packed

from gateway.clusters import Backend
from gateway.faces import EXTERNAL, EXTERNAL_TLS, INTERNAL, INTERNAL_TLS
from gateway.services import AUTHORIZATION_FILTER, authorized_as, not_authorized
from kube.ingress.spec import tls_entries
from kube.models.networking import Ingress, IngressHTTP, IngressPath, IngressSpec

__all__ = [
    "HEALTH_CLUSTER",
    "HEALTH_HOST",
    "CertificateUse",
    "Translation",
    "health_host",
    "route_configuration",
    "speaks_http1_only",
    "translate",
]

HEALTH_HOST = "internalkourier"
HEALTH_CLUSTER = "service_stats"
"""Where kubelets ask whether Envoy is ready: names that existing probes of gateways use (spec ingress.md 5.7)."""

DISABLE_HTTP2 = "kourier.knative.dev/disable-http2"
_RETRIES = 3
_CHALLENGE = "/.well-known/acme-challenge/"
_VIRTUAL_HOSTS_FIELD = 2
_ROUTES_FIELD = 3
_LENGTH_DELIMITED = 2
"""Wire type of messages (protobuf encoding)."""


@dataclass(frozen=True, slots=True)
class CertificateUse:
    """A Secret with a certificate, and the names for which a TLS face shows it."""

    face: str
    namespace: str
    secret: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Translation:
    """What one Ingress adds to the configuration."""

    faces: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Face -> host -> serialised virtual host. Faces of which it has nothing are left out."""
    backends: frozenset[Backend] = frozenset()
    certificates: frozenset[CertificateUse] = frozenset()

    @property
    def domains(self) -> frozenset[str]:
        """Host names in use; the internal face has all of them."""
        return frozenset(self.faces.get(INTERNAL, {}))

    def without_tls(self) -> "Translation":
        """What is left when no certificate can be shown."""
        plain = {face: hosts for face, hosts in self.faces.items() if face not in (EXTERNAL_TLS, INTERNAL_TLS)}
        return Translation(plain, self.backends)


def speaks_http1_only(ingress: Ingress) -> bool:
    """Whether HTTP/1 is asked for towards the backends, as for placeholders, whose port says HTTP/2 (spec 5.5)."""
    return ingress.metadata.annotations.get(DISABLE_HTTP2, "").lower() == "true"


def translate(
    ingress: Ingress,
    spec: IngressSpec,
    *,
    is_secure: bool = False,
    is_authorized: bool = False,
    is_secured: bool = False,
) -> Translation:
    """Virtual hosts and backends of `ingress`, whose `spec` is defaulted and has its probe paths.

    `is_secure`: TLS is spoken to backends, but for paths that lead on to another Ingress of this gateway.
    `is_authorized`: somebody decides about requests, and is told what they are for.
    `is_secured`: the TLS faces serve hosts without a certificate of their own, too.
    """
    contexts: dict[str, Packed] = {}
    gathered: dict[str, dict[str, list[tuple[int, bytes]]]] = {}
    backends: set[Backend] = set()
    made = _Routes(is_http1=speaks_http1_only(ingress), is_secure=is_secure, is_authorized=is_authorized)
    for rule in spec.rules:
        if rule.http is None:
            continue
        is_public = rule.visibility != "ClusterLocal"
        backends.update(made.backends_of(rule.http))
        plain = made.of(rule.http, redirect=is_public and spec.http_option == "Redirected")
        served = [(EXTERNAL, plain), (INTERNAL, plain)] if is_public else [(INTERNAL, plain)]
        if spec.tls or is_secured:
            secured = made.of(rule.http, redirect=False)
            served.append((EXTERNAL_TLS if is_public else INTERNAL_TLS, secured))
        for host in rule.hosts or ["*"]:
            if is_authorized:
                contexts.setdefault(host.lower(), authorized_as(rule.visibility, ingress.metadata.labels))
            for face, routes in served:
                gathered.setdefault(face, {}).setdefault(host.lower(), []).extend(routes)
    owner = f"{ingress.namespace}/{ingress.name}"
    return Translation(
        faces={
            face: {host: _virtual_host(owner, host, routes, contexts.get(host)) for host, routes in hosts.items()}
            for face, hosts in gathered.items()
        },
        backends=frozenset(backends),
        certificates=frozenset(_certificates(spec, gathered)),
    )


def route_configuration(name: str, hosts: Mapping[str, bytes]) -> bytes:
    """All virtual hosts of a face, serialised, sorted, so that equal content is equal bytes."""
    head = RouteConfiguration(
        name=name,
        # A route may be pushed before its cluster arrived only if that is our bug; then it is refused whole.
        validate_clusters={"value": True},
    )
    parts = [head.SerializeToString(deterministic=True)]
    for _, content in sorted(hosts.items()):
        parts.append(_field(_VIRTUAL_HOSTS_FIELD, len(content)))
        parts.append(content)
    return b"".join(parts)


def health_host() -> bytes:
    """The virtual host that passes `/ready` on to Envoy's own answer."""
    route = Route(name="ready")
    route.match.path = "/ready"
    route.route.cluster = HEALTH_CLUSTER
    route.route.timeout.FromTimedelta(timedelta(seconds=1))
    content = route.SerializeToString(deterministic=True)
    return _virtual_host("gateway", HEALTH_HOST, [(len("/ready"), content)], not_authorized())


def _certificates(spec: IngressSpec, served: Mapping[str, Mapping[str, object]]) -> Iterable[CertificateUse]:
    """Which Secret is shown for which host: hosts of our own rules only, each with the first that covers it."""
    for visibility, face in (("ExternalIP", EXTERNAL_TLS), ("ClusterLocal", INTERNAL_TLS)):
        free = set(served.get(face, {}))
        names: dict[tuple[str, str], set[str]] = {}
        for entry in tls_entries(spec, visibility):
            hosts = {host.lower() for host in entry.hosts} & free
            free -= hosts
            names.setdefault((entry.secret_namespace, entry.secret_name), set()).update(hosts)
        for (namespace, secret), hosts in names.items():
            if hosts:
                yield CertificateUse(face, namespace, secret, tuple(sorted(hosts)))


class _Routes:
    """Makes the routes of one Ingress. Rules that lead to the same, as a Route's two faces do, share theirs."""

    def __init__(self, *, is_http1: bool, is_secure: bool, is_authorized: bool) -> None:
        self._is_http1 = is_http1
        self._is_secure = is_secure
        self._is_authorized = is_authorized
        self._made: list[tuple[IngressHTTP, bool, list[tuple[int, bytes]]]] = []

    def of(self, http: IngressHTTP, *, redirect: bool) -> list[tuple[int, bytes]]:
        """Length of the prefix and serialised route, for each path."""
        for known, is_redirect, routes in self._made:
            if is_redirect == redirect and known == http:
                return routes
        made = []
        for path in http.paths:
            is_challenge = path.path.startswith(_CHALLENGE)
            route = self._route(path, redirect=redirect and not is_challenge)
            made.append((len(path.path or "/"), route.SerializeToString(deterministic=True)))
        self._made.append((http, redirect, made))
        return made

    def backends_of(self, http: IngressHTTP) -> Iterable[Backend]:
        """Where its requests may go."""
        for path in http.paths:
            is_tls = self._is_secure and not path.rewrite_host
            for split in path.splits:
                yield Backend(split.service_namespace, split.service_name, split.service_port, self._is_http1, is_tls)

    def _route(self, path: IngressPath, *, redirect: bool) -> Route:
        route = Route(name=path.path or "/")
        route.match.prefix = path.path or "/"
        for name, match in path.headers.items():
            matcher = route.match.headers.add(name=name)
            if match.get("exact"):
                matcher.string_match.exact = match["exact"]
            else:
                matcher.present_match = True
        if redirect:
            route.redirect.https_redirect = True
            return route
        if self._is_authorized and path.path.startswith(_CHALLENGE):
            route.typed_per_filter_config[AUTHORIZATION_FILTER].CopyFrom(not_authorized())
        action = route.route
        for split, backend in zip(path.splits, self.backends_of(IngressHTTP(paths=[path])), strict=True):
            weighted = action.weighted_clusters.clusters.add(name=backend.cluster_name, weight={"value": split.percent})
            weighted.request_headers_to_add.extend(_set(split.append_headers))
        route.request_headers_to_add.extend(_set(path.append_headers))
        action.timeout.FromTimedelta(timedelta(0))
        if path.rewrite_host:
            action.host_rewrite_literal = path.rewrite_host
        # Only what no backend has begun to work on: a connection that could not be made, a pooled one that was closed
        # before the request got through. A status of the app's is the client's to see.
        action.retry_policy.retry_on = "connect-failure,refused-stream,reset-before-request"
        action.retry_policy.num_retries.value = _RETRIES
        return route


def _virtual_host(owner: str, host: str, routes: list[tuple[int, bytes]], context: Packed | None) -> bytes:
    domains = ["*"] if host == "*" else [host, f"{host}:*"]
    head = VirtualHost(name=f"({owner}).Domain[{host}]", domains=domains)
    if context is not None:
        head.typed_per_filter_config[AUTHORIZATION_FILTER].CopyFrom(context)
    parts = [head.SerializeToString(deterministic=True)]
    # Longest prefix first; the sort is stable, so probe paths stay ahead of tag paths and those ahead of the default.
    for _, content in sorted(routes, key=lambda route: -route[0]):
        parts.append(_field(_ROUTES_FIELD, len(content)))
        parts.append(content)
    return b"".join(parts)


def _field(number: int, length: int) -> bytes:
    """What stands before a message of `length` bytes in the field `number` of another one."""
    encoded = bytearray([number << 3 | _LENGTH_DELIMITED])
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def _set(headers: dict[str, str]) -> list[HeaderValueOption]:
    return [
        HeaderValueOption(
            # A percent sign begins a command of Envoy's unless it is doubled.
            header={"key": name, "value": value.replace("%", "%%")},
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in sorted(headers.items())
    ]
