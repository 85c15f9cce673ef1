"""Route: shares its traffic among Revisions, through placeholder Services and an Ingress.

A target that cannot be served stops the pass before anything is touched: what was served before goes on. Source:
knative/serving `pkg/reconciler/route`; spec control-plane.md 7, 8.
"""

import math
from dataclasses import dataclass
from typing import Any

from controller import certificates, domains, ingress, keys, placeholder, rollout, traffic
from controller.certificates import Provisioned, Provisioner
from controller.cluster import LABEL_INDEX, Cluster
from controller.collection import NOT_OWNED_RETRY_S, Reconciler, happy_condition, is_failed, is_ready
from controller.domains import DomainError, Hosts
from controller.rollout import Rollout
from controller.traffic import Traffic
from kube.conditions import Conditions, ConditionSet
from kube.models.core import Service as CoreService
from kube.models.networking import Ingress
from kube.models.serving import Configuration, Revision, Route, RouteStatus, TrafficTarget
from proxies import gotext

__all__ = ["CONDITIONS", "RouteReconciler"]

JsonObject = dict[str, Any]

CONDITIONS = ConditionSet(("AllTrafficAssigned", "IngressReady", "CertificateProvisioned"))
_NS = 10**9
_STEP_MIN_S = 0.05
"""No stored state makes a Route look at itself without a pause."""


class NotOwned(Exception):
    """A placeholder's name is taken by somebody else's object."""


@dataclass(frozen=True, slots=True)
class RevisionView:
    """A Revision as the traffic resolver sees it."""

    name: str
    configuration: str
    service: str
    protocol: str
    ready: bool | None

    @classmethod
    def of(cls, revision: Revision | None) -> "RevisionView | None":
        """The view; None for none."""
        if revision is None:
            return None
        labels = revision.metadata.labels
        ready = True if is_ready(revision) else False if is_failed(revision) else None
        return cls(
            revision.name, labels.get(keys.CONFIGURATION, ""), labels.get(keys.SERVICE, ""), revision.protocol, ready
        )


@dataclass(frozen=True, slots=True)
class ConfigurationView:
    """A Configuration as the traffic resolver sees it."""

    name: str
    latest_ready: str
    is_failed: bool

    @classmethod
    def of(cls, configuration: Configuration | None) -> "ConfigurationView | None":
        """The view; None for none."""
        if configuration is None:
            return None
        return cls(configuration.name, configuration.status.latest_ready_revision_name, is_failed(configuration))


class RouteReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._provisioner = Provisioner(cluster)

    def reconciler(self) -> Reconciler[Route]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.routes, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, route: Route, status: RouteStatus, conditions: Conditions) -> float | None:
        """One pass."""
        if status.observed_generation != route.metadata.generation:
            _mark_not_configured(conditions)
        assigned = self._traffic(route)
        try:
            hosts = self._hosts(route, assigned)
        except DomainError as error:
            conditions.mark_false("AllTrafficAssigned", "ErrorConfig", str(error))
            return None
        if not status.url or assigned.problem is None:
            status.url = _url(self._scheme(hosts[""], Provisioned()), hosts[""].url_host)
        if assigned.problem is not None:
            mark = conditions.mark_false if assigned.problem.is_failure else conditions.mark_unknown
            mark("AllTrafficAssigned", assigned.problem.reason, assigned.problem.message)
            return None
        conditions.mark_true("AllTrafficAssigned")
        address = domains.service_host(route.name, route.namespace, self._cluster.cluster_domain)
        try:
            await self._keep_placeholders(route, hosts)
            provided = await self._certificates(route, hosts, conditions)
            if provided.not_owned:
                return NOT_OWNED_RETRY_S
            status.url = _url(self._scheme(hosts[""], provided), hosts[""].url_host)
            status.address = {"url": _url("https" if address in provided.secure_hosts else "http", address)}
            state, ingress_ = await self._ingress(route, assigned, hosts, provided, conditions)
            status.traffic = self._status_traffic(assigned, hosts, provided, state)
            self._apply_ingress(ingress_, state, conditions)
            await self._lead_placeholders(route, hosts, ingress_)
        except NotOwned as error:
            conditions.mark_false("IngressReady", "NotOwned", str(error))
            return NOT_OWNED_RETRY_S
        return self._seconds_to_next_step(state)

    # What is wanted.

    def _traffic(self, route: Route) -> Traffic:
        namespace = route.namespace
        return traffic.build(
            route.spec.traffic,
            route.metadata.labels.get(keys.SERVICE, ""),
            lambda name: ConfigurationView.of(self._cluster.configurations.get(namespace, name)),
            lambda name: RevisionView.of(self._cluster.revisions.get(namespace, name)),
        )

    def _hosts(self, route: Route, assigned: Traffic) -> dict[str, Hosts]:
        visibility = {
            service.name: service.metadata.labels.get(keys.VISIBILITY, "") for service in self._placeholders(route)
        }
        tags = {"", *assigned.groups}
        return domains.hosts_of(route, tags, self._cluster.settings, self._cluster.cluster_domain, visibility)

    def _scheme(self, hosts: Hosts, provided: Provisioned) -> str:
        network = self._cluster.settings.network
        if hosts.url_host in provided.secure_hosts:
            return "https"
        if hosts.is_local or provided.downgraded:
            return "http"
        return network.default_external_scheme

    async def _certificates(self, route: Route, hosts: dict[str, Hosts], conditions: Conditions) -> Provisioned:
        """The certificates of all names, as far as the cluster has any."""
        network = self._cluster.settings.network
        is_external = network.external_domain_tls and not certificates.is_disabled(route.metadata.annotations)
        is_public = any(not named.is_local for named in hosts.values())
        if not is_external:
            conditions.mark_true("CertificateProvisioned", "TLSNotEnabled", "external-domain-tls is not enabled")
        elif not is_public:
            conditions.mark_true("CertificateProvisioned", "TLSNotEnabled", "TLS is not enabled for cluster-local")
        domain = self._cluster.settings.domain.domain_for(route.metadata.labels)
        wanted = []
        for tag, named in sorted(hosts.items()):
            for type_, names, base, is_on in (
                (certificates.EXTERNAL, named.public, domain, is_external),
                (
                    certificates.LOCAL,
                    named.local,
                    f"svc.{self._cluster.cluster_domain}",
                    network.cluster_local_domain_tls,
                ),
            ):
                if is_on and names:
                    name = certificates.name_for_route(route.metadata.uid, tag, type_)
                    default_class = network.certificate_class
                    wanted.append(certificates.want(route, name, names, base, type_=type_, default_class=default_class))
        provided = await self._provisioner.provide(route, wanted, conditions)
        if not provided.not_owned:
            for type_ in (certificates.EXTERNAL, certificates.LOCAL):
                used = {
                    name
                    for body in wanted
                    if body["metadata"]["labels"][keys.CERTIFICATE_TYPE] == type_
                    for name in body["spec"]["dnsNames"]
                }
                await self._provisioner.prune(route, type_, used)
        return provided

    def _status_traffic(
        self, assigned: Traffic, hosts: dict[str, Hosts], provided: Provisioned, state: Rollout
    ) -> list[TrafficTarget]:
        shares = {(entry.tag, entry.configuration): entry.revisions for entry in state.configurations}
        shown = []
        for target in assigned.flattened:
            named = hosts[target.tag]
            url = _url(self._scheme(named, provided), named.url_host) if target.tag else ""
            rolled = shares.get((target.tag, target.configuration), ()) if target.latest else ()
            split = (
                [(share.revision, share.percent) for share in rolled]
                if len(rolled) > 1 and sum(share.percent for share in rolled) == target.percent
                else [(target.revision, target.percent)]
            )
            shown += [
                TrafficTarget(
                    tag=target.tag,
                    revision_name=revision,
                    latest_revision=target.latest and revision == target.revision,
                    percent=percent,
                    url=url,
                )
                for revision, percent in split
            ]
        return shown

    # Placeholder Services.

    def _placeholders(self, route: Route) -> list[CoreService]:
        key = f"{route.namespace}/{route.name}"
        return self._cluster.core_services.informer.by_index(LABEL_INDEX, key)

    async def _keep_placeholders(self, route: Route, hosts: dict[str, Hosts]) -> None:
        """Create what is missing, delete what no tag needs. Raises `NotOwned`."""
        services, endpoints = self._cluster.core_services, self._cluster.endpoints
        for wanted in hosts.values():
            existing = services.get(route.namespace, wanted.label)
            if existing is None:
                await services.create(placeholder.build(route, wanted))
            elif not existing.is_controlled_by(route):
                raise NotOwned(f'There is an existing placeholder Service "{wanted.label}" that we do not own.')
        labels = {wanted.label for wanted in hosts.values()}
        for service in self._placeholders(route):
            if service.name in labels or not service.is_controlled_by(route):
                continue
            await services.delete(service)
            addresses = endpoints.get(service.namespace, service.name)
            if addresses is not None and addresses.is_controlled_by(route):
                await endpoints.delete(addresses)

    async def _lead_placeholders(self, route: Route, hosts: dict[str, Hosts], ingress_: Ingress) -> None:
        """Point the placeholders to the gateway, once it says where it is. Raises `NotOwned`."""
        services, endpoints = self._cluster.core_services, self._cluster.endpoints
        for wanted in hosts.values():
            service = services.get(route.namespace, wanted.label)
            entry = placeholder.load_balancer(ingress_.status, is_local=wanted.is_local)
            spec = placeholder.spec_for(entry) if entry is not None else None
            if service is None or entry is None or spec is None:
                continue
            patch = placeholder.drift_patch(service, spec)
            if patch is not None and placeholder.must_recreate(service, spec):
                await services.delete(service)
                await services.create(placeholder.build(route, wanted, spec))
            elif patch is not None:
                await services.patch(service, patch)
            addresses = placeholder.endpoints(route, wanted.label, entry)
            if addresses is None:
                continue
            existing = endpoints.get(route.namespace, wanted.label)
            if existing is None:
                await endpoints.create(addresses)
            elif not existing.is_controlled_by(route):
                raise NotOwned(f'There is an existing Endpoints "{wanted.label}" that we do not own.')
            elif [address.ip for subset in existing.subsets for address in subset.addresses] != [entry.ip]:
                await endpoints.patch(existing, {"subsets": addresses["subsets"]})

    # The Ingress.

    async def _ingress(
        self,
        route: Route,
        assigned: Traffic,
        hosts: dict[str, Hosts],
        provided: Provisioned,
        conditions: Conditions,
    ) -> tuple[Rollout, Ingress]:
        """The Ingress, created or brought up to date, and the rollout that it carries."""
        collection = self._cluster.ingresses
        existing = collection.get(route.namespace, ingress.name_of(route))
        if existing is not None and not existing.is_controlled_by(route):
            raise NotOwned(f'There is an existing Ingress "{existing.name}" that we do not own.')
        state = self._rolled(route, assigned, existing, conditions)
        wanted = ingress.build(route, assigned.groups, hosts, state, self._cluster.settings, provided)
        if existing is None:
            return state, await collection.create(wanted)
        operations = ingress.drift_patch(existing, wanted)
        if operations is not None:
            existing = await collection.patch(existing, operations, type="json")
        return state, existing

    def _rolled(self, route: Route, assigned: Traffic, existing: Ingress | None, conditions: Conditions) -> Rollout:
        wanted = rollout.current(assigned.groups)
        duration_s = self._rollout_duration_s(route)
        text = existing.metadata.annotations.get(keys.ROLLOUT) if existing is not None else None
        if duration_s <= 0 or existing is None or text is None:
            return wanted
        now_ns = int(self._cluster.now_s() * _NS)
        stored = rollout.Rollout.from_json(text)
        if stored is not None and is_ready(existing) and not conditions.is_true("IngressReady"):
            stored = rollout.observe_ready(stored, now_ns, duration_s)
        return rollout.advance(wanted, stored, now_ns)

    def _rollout_duration_s(self, route: Route) -> float:
        """Whole seconds of the annotation; none or 0 means the cluster's default."""
        text = keys.first_present(route.metadata.annotations, keys.ROLLOUT_DURATION)
        try:
            wanted_s = 0 if text is None else int(gotext.parse_duration_s(text))
        except ValueError:
            wanted_s = 0
        return wanted_s or self._cluster.settings.network.rollout_duration_s

    def _apply_ingress(self, ingress_: Ingress, state: Rollout, conditions: Conditions) -> None:
        ready = happy_condition(ingress_.status)
        if ingress_.metadata.generation != ingress_.status.observed_generation or ready is None:
            _mark_not_configured(conditions)
        elif ready.status == "True" and not state.is_done:
            conditions.mark_unknown(
                "IngressReady", "RolloutInProgress", "A gradual rollout of the latest revision(s) is in progress."
            )
        elif ready.status == "True":
            conditions.mark_true("IngressReady")
        elif ready.status == "False":
            conditions.mark_false("IngressReady", ready.reason, ready.message)
        else:
            conditions.mark_unknown("IngressReady", ready.reason, ready.message)

    def _seconds_to_next_step(self, state: Rollout) -> float | None:
        due_ns = state.next_step_ns()
        if due_ns is None or state.is_done:
            return None
        return max(_STEP_MIN_S, math.ceil(due_ns - self._cluster.now_s() * _NS) / _NS)


def _mark_not_configured(conditions: Conditions) -> None:
    conditions.mark_unknown("IngressReady", "IngressNotConfigured", "Ingress has not yet been reconciled.")


def _url(scheme: str, host: str) -> str:
    return f"{scheme}://{host}"
