"""Under which names a Route is reached, and from where.

Pure. Source: knative/serving `pkg/reconciler/route/domains`, `visibility`; spec control-plane.md 7.3.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller import keys
from controller.settings import DEFAULT_DOMAIN_TEMPLATE, Settings
from controller.templates import Template, TemplateError
from kube.models.serving import Route

__all__ = ["DomainError", "Hosts", "hosts_of", "is_cluster_local_route", "service_host"]

_DEFAULT_TEMPLATE = Template(DEFAULT_DOMAIN_TEMPLATE)


class DomainError(ValueError):
    """The templates make no host name of this Route."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """Names of one tag (`""`: the Route itself)."""

    tag: str
    label: str
    """First label of the names, and the name of the placeholder Service."""
    local: tuple[str, ...]
    """Cluster-local names, shortest first."""
    public: tuple[str, ...]
    """Names on the external face; empty when the tag is cluster-local."""
    url_host: str
    """The name in the URL."""

    @property
    def is_local(self) -> bool:
        """Whether only the cluster can reach it."""
        return not self.public

    @property
    def fqdn(self) -> str:
        """The longest cluster-local name."""
        return self.local[-1]


def service_host(name: str, namespace: str, cluster_domain: str) -> str:
    """A Service's name within the cluster."""
    return f"{name}.{namespace}.svc.{cluster_domain}"


def host_label(route: Route, tag: str, settings: Settings) -> str:
    """The first label of a tag's names. Raises `DomainError`."""
    if not tag:
        return route.metadata.name
    try:
        return settings.network.tag_template.render({**_metadata(route), "Tag": tag})
    except TemplateError as error:
        raise DomainError(f"tag-template: {error}") from error


def is_cluster_local_route(route: Route, settings: Settings, cluster_domain: str) -> bool:
    """Whether the Route as a whole is for the cluster only: by its label, or because no public domain fits it."""
    return _domain(route, settings, cluster_domain) == f"svc.{cluster_domain}"


def hosts_of(
    route: Route,
    tags: Iterable[str],
    settings: Settings,
    cluster_domain: str,
    placeholder_visibility: Mapping[str, str],
) -> dict[str, Hosts]:
    """Names per tag. `placeholder_visibility`: visibility label of each placeholder Service that has one, by name.

    On a placeholder any non-empty label hides its tag; on a Route only `cluster-local` does. Raises `DomainError`.
    """
    all_local = is_cluster_local_route(route, settings, cluster_domain)
    domain = _domain(route, settings, cluster_domain)
    found = {}
    for tag in tags:
        label = host_label(route, tag, settings)
        local = _expanded(route, label, cluster_domain)
        public: tuple[str, ...] = ()
        if not all_local and not placeholder_visibility.get(label):
            public = (_render(settings.network.domain_template, route, label, domain),)
        found[tag] = Hosts(tag, label, local, public, public[0] if public else local[-1])
    return found


def _domain(route: Route, settings: Settings, cluster_domain: str) -> str:
    labels = route.metadata.labels
    if labels.get(keys.VISIBILITY) == keys.CLUSTER_LOCAL:
        return f"svc.{cluster_domain}"
    return settings.domain.domain_for(labels)


def _expanded(route: Route, label: str, cluster_domain: str) -> tuple[str, ...]:
    """All names by which the cluster may call it (spec ingress.md 2); a custom domain template does not count here."""
    full = _render(_DEFAULT_TEMPLATE, route, label, f"svc.{cluster_domain}")
    shorter = [full.removesuffix(f".{cluster_domain}"), full.removesuffix(f".svc.{cluster_domain}")]
    usable = [name for name in shorter if not name.rpartition(".")[2].isdigit() and len(name.rpartition(".")[2]) <= 63]
    return (*sorted(usable), full)


def _render(template: Template, route: Route, label: str, domain: str) -> str:
    try:
        host = template.render({**_metadata(route), "Name": label, "Domain": domain})
    except TemplateError as error:
        raise DomainError(f"domain-template: {error}") from error
    if not _is_host(host):
        raise DomainError(f"domain-template: {host!r} is not a fully qualified domain name")
    return host


def _metadata(route: Route) -> dict[str, str | Mapping[str, str]]:
    meta = route.metadata
    return {
        "Name": meta.name,
        "Namespace": meta.namespace,
        "Labels": meta.labels,
        "Annotations": meta.annotations,
    }


def _is_host(host: str) -> bool:
    labels = host.split(".")
    return (
        len(labels) > 1
        and len(host) <= 253
        and all(
            0 < len(label) <= 63
            and label.isascii()
            and label == label.lower()
            and label.replace("-", "").isalnum()
            and label[0] != "-"
            and label[-1] != "-"
            for label in labels
        )
    )
