"""Ingresses of the Gateway API's class put together: routes written step by step, proved, and reported.

Source: net-gateway-api `pkg/reconciler/ingress/{ingress,lister}.go`; spec ingress.md 6.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from controller import keys
from controller.add_on import AddOn, Key
from controller.collection import NOT_OWNED_RETRY_S, Collection, Reconciler, is_ready
from controller.config import Config
from controller.gateway_api import listeners, routes
from controller.gateway_api.certificates import Certificates
from controller.gateway_api.proofs import Proofs
from controller.gateway_api.settings import CONFIG_MAP, GatewayApiSettings, GatewayChoice
from controller.process_metrics import ProcessMetrics
from kube.addresses import Address
from kube.conditions import Conditions, ConditionSet
from kube.errors import Invalid
from kube.events import WARNING
from kube.ingress.prober import Prober, Target
from kube.ingress.spec import defaulted, tls_entries
from kube.ingress.version_hash import version_hash
from kube.models.core import Endpoints, EndpointSubset
from kube.models.gateway_api import Gateway, HTTPRoute, ReferenceGrant
from kube.models.networking import (
    Ingress,
    IngressRule,
    IngressSpec,
    IngressStatus,
    LoadBalancer,
    LoadBalancerIngress,
)
from proxies.logs import Logger

__all__ = ["CLASS", "NAME", "GatewayApi"]

NAME = "gateway-api"
CLASS = "gateway-api.ingress.networking.knative.dev"
CONDITIONS = ConditionSet(("NetworkConfigured", "LoadBalancerReady"))
_BY_INGRESS = "ingress"
_BY_OWN_NAME = "own-name"
_BY_SERVICE = "service"
_WAITING = "Waiting for load balancer to be ready"
_PORT_NAMES = ("http", "http2", "http-80")
_TLS_PORT_NAMES = ("https", "https-443")


class _Unserved(Exception):
    """The Ingress is not served, for a reason that one of its conditions tells."""

    def __init__(self, condition: str, reason: str, message: str, *, is_failure: bool = False) -> None:
        super().__init__(message)
        self.condition = condition
        self.reason = reason
        self.is_failure = is_failure
        """Whether somebody has to do something about it; otherwise it is to come."""


class GatewayApi(AddOn):
    """One implementation."""

    def __init__(
        self,
        config: Config,
        log: Logger | None = None,
        metrics: ProcessMetrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(config, name=NAME, config_maps=[CONFIG_MAP], log=log, metrics=metrics, clock=clock)
        self._settings = GatewayApiSettings()
        self._ingresses = Collection(self.client, Ingress)
        self._routes = Collection(self.client, HTTPRoute)
        self._gateways = Collection(self.client, Gateway)
        self._grants = Collection(self.client, ReferenceGrant)
        self._endpoints = Collection(self.client, Endpoints)
        self._proofs = Proofs(Prober(), self.loop.add)
        self._certificates = Certificates(self._gateways, self._grants)
        self._left: set[Key] = set()
        """Ingresses that have gone to another class with our finalizer."""
        self._reconcile = Reconciler(
            self._ingresses, CONDITIONS, self._work, self.now_s, finalize=self._finalize, on_failure=self._failed
        )
        self._routes.informer.add_index(_BY_INGRESS, lambda route: [f"{route.namespace}/{_ingress_of(route)}"])
        self._ingresses.informer.add_index(_BY_OWN_NAME, lambda ingress: [listeners.name_of(ingress)])
        self._ingresses.informer.add_index(_BY_SERVICE, _services_of)
        self._ingresses.informer.on_change(self._ingress_changed)
        self._routes.informer.on_change(self._route_changed)
        self._gateways.informer.on_change(self._gateway_changed)
        self._grants.informer.on_change(self._grant_changed)
        self._endpoints.informer.on_change(self._endpoints_changed)

    def collections(self) -> list[Collection[Any]]:
        """The kinds that are followed."""
        return [self._ingresses, self._routes, self._gateways, self._grants, self._endpoints]

    def looked_after(self) -> Collection[Any]:
        """The one of them that is followed in the loop."""
        return self._ingresses

    def read_settings(self, maps: Mapping[str, Mapping[str, str]]) -> None:
        """Take over the ConfigMap."""
        self._settings = GatewayApiSettings.from_data(maps.get(CONFIG_MAP, {}))

    def ours(self) -> Iterable[Key]:
        """Ingresses of our class, and those that have left it."""
        return [found.key for found in self._ingresses.informer.list() if self._concerns(found)]

    async def reconcile(self, key: Key) -> float | None:
        """One Ingress."""
        found = self._ingresses.get(*key)
        if found is None:
            return None
        if _is_ours(found):
            return await self._reconcile(key)
        if self._concerns(found):
            await self._leave(found)
        return None

    async def end_acting(self) -> None:
        """Somebody else proves from now on."""
        await self._proofs.stop()

    # One pass.

    async def _work(self, ingress: Ingress, status: IngressStatus, conditions: Conditions) -> float | None:
        try:
            try:
                await self._serve(ingress, conditions)
            except (routes.InvalidRule, Invalid) as error:
                # Repeating it does not help: the object has to change, and then we are here again.
                raise _Unserved("NetworkConfigured", "ReconcileIngressFailed", str(error)) from error
            status.public_load_balancer = self._load_balancer(self._settings.external)
            status.private_load_balancer = self._load_balancer(self._settings.local)
        except _Unserved as found:
            if found.condition != "LoadBalancerReady":
                conditions.mark_unknown("LoadBalancerReady", "Uninitialized", _WAITING)
            mark = conditions.mark_false if found.is_failure else conditions.mark_unknown
            mark(found.condition, found.reason, str(found))
            return NOT_OWNED_RETRY_S if found.reason == "NotOwned" else None
        conditions.mark_true("LoadBalancerReady")
        return None

    async def _serve(self, ingress: Ingress, conditions: Conditions) -> None:
        """Write what is wanted, as far as it is its turn. Raises `_Unserved` unless all of it is served."""
        spec = defaulted(ingress.spec)
        hash_ = version_hash(spec, *ingress.key)
        rules = _by_name(ingress, spec)
        await self._drop_others(ingress, rules.keys())
        if not await self._certificates.put(ingress, spec, self._settings.external):
            raise _missing(self._settings.external)
        was_ready = is_ready(ingress)
        problems = []
        is_served = True
        for rule in rules.values():
            problem, is_final = await self._advance(ingress, spec, rule, hash_, was_ready=was_ready)
            problems += [problem] if problem else []
            is_served = is_served and is_final
        for choice in (self._settings.external, self._settings.local):
            if choice.service is None and self._gateways.get(*choice.gateway) is None:
                raise _missing(choice)
        if problems:
            raise _Unserved("NetworkConfigured", "HTTPRouteNotReady", "; ".join(problems))
        conditions.mark_true("NetworkConfigured")
        if not is_served:
            raise _Unserved("LoadBalancerReady", "Uninitialized", _WAITING)

    async def _advance(
        self, ingress: Ingress, spec: IngressSpec, rule: IngressRule, hash_: str, *, was_ready: bool
    ) -> tuple[str, bool]:
        """Bring a rule's route as far as it is proved.

        Why it is not accepted (empty: it is), and whether what is wanted is served.
        """
        choice = self._settings.of(rule.visibility)
        body = routes.want(ingress, rule, choice)
        held = self._routes.get(ingress.namespace, body["metadata"]["name"])
        if held is not None and not held.is_controlled_by(ingress):
            text = f'There is an existing HTTPRoute "{held.name}" that we do not own.'
            raise _Unserved("LoadBalancerReady", "NotOwned", text, is_failure=True)
        step = routes.plan(held.spec.get("rules") if held is not None else None, rule, choice, hash_)
        while True:
            held, is_written = await self._put_route(body, step, held)
            problem = _problem_of(held)
            if problem:
                return problem, False
            if was_ready and step.stage is routes.Stage.FINAL and not is_written:
                self._proofs.believe(held.key, step.version)
            addresses = self._addresses(choice, is_tls=_is_redirected(spec, rule))
            targets = [
                Target(str(address), host, _is_redirected(spec, rule), path)
                for address in addresses
                for host in rule.hosts
                for path in step.paths
            ]
            if not addresses or not self._proofs.is_served(held.key, step.version, targets, ingress.key):
                return "", False
            if step.stage is routes.Stage.FINAL:
                return "", True
            step = routes.after(step, rule, choice, hash_)

    async def _put_route(
        self, body: dict[str, Any], step: routes.Step, held: HTTPRoute | None
    ) -> tuple[HTTPRoute, bool]:
        """The route as the step wants it, and whether what it serves had to be changed."""
        spec = {**body["spec"], "rules": step.rules}
        metadata = body["metadata"]
        if held is None:
            self._proofs.forget((metadata["namespace"], metadata["name"]))
            return await self._routes.create({**body, "spec": spec}), True
        parts = routes.change_of_parts(held.metadata, metadata)
        if not routes.is_as_wanted(held.spec, spec):
            self._proofs.forget(held.key)
            return await self._routes.patch(held, {"metadata": parts, "spec": spec}), True
        if parts:
            held = await self._routes.patch(held, {"metadata": parts})
        return held, False

    async def _drop_others(self, ingress: Ingress, wanted: Iterable[str]) -> None:
        """Delete routes of the Ingress that no rule is for."""
        for route in self._routes_of(ingress):
            if route.name not in wanted:
                self._proofs.forget(route.key)
                await self._routes.delete(route)

    def _routes_of(self, ingress: Ingress) -> list[HTTPRoute]:
        found = self._routes.informer.by_index(_BY_INGRESS, f"{ingress.namespace}/{ingress.name}")
        return [route for route in found if route.is_controlled_by(ingress)]

    async def _leave(self, ingress: Ingress) -> None:
        """Its class is another's now, who may know nothing of our finalizer. Routes go last: they bring us here."""
        await self._reconcile.let_go(ingress)
        await self._drop_others(ingress, ())

    async def _finalize(self, ingress: Ingress) -> None:
        """Take away what does not go with the Ingress by itself."""
        await self._certificates.remove(ingress, self._settings.external)
        for route in self._routes_of(ingress):
            self._proofs.forget(route.key)

    def _load_balancer(self, choice: GatewayChoice) -> LoadBalancer:
        """Where a Gateway is reached. Raises `_Unserved`."""
        if choice.service is not None:
            namespace, name = choice.service
            host = f"{name}.{namespace}.svc.{self.config.cluster_domain}"
            return LoadBalancer(ingress=[LoadBalancerIngress(domain_internal=host)])
        gateway = self._gateways.get(*choice.gateway)
        if gateway is None:
            raise _missing(choice)
        if not gateway.status.addresses:
            text = f"Gateway {'/'.join(choice.gateway)} has no address yet"
            raise _Unserved("LoadBalancerReady", "Uninitialized", text)
        first = gateway.status.addresses[0]
        is_name = first.type == "Hostname"
        entry = LoadBalancerIngress(domain_internal=first.value) if is_name else LoadBalancerIngress(ip=first.value)
        return LoadBalancer(ingress=[entry])

    # Probes.

    def _addresses(self, choice: GatewayChoice, *, is_tls: bool) -> list[Address]:
        """Each pod of a Gateway, or the Gateway itself where nobody says which Service they are behind."""
        if choice.service is None:
            gateway = self._gateways.get(*choice.gateway) or Gateway()
            return [Address(each.value, 443 if is_tls else 80) for each in gateway.status.addresses]
        endpoints = self._endpoints.get(*choice.service)
        return [
            Address(address.ip, port)
            for subset in (endpoints.subsets if endpoints is not None else ())
            if (port := _port_of(subset, _TLS_PORT_NAMES if is_tls else _PORT_NAMES))
            for address in subset.addresses
        ]

    def _failed(self, ingress: Ingress, error: Exception) -> None:
        self.events.report(ingress, WARNING, "InternalError", str(error))

    # Events.

    def _consider(self, key: Key) -> None:
        found = self._ingresses.get(*key)
        if found is not None and self._concerns(found):
            self.loop.add(key)

    def _concerns(self, ingress: Ingress) -> bool:
        """Whether it is ours, or was and shows it."""
        if _is_ours(ingress) or ingress.key in self._left or self._routes_of(ingress):
            return True
        return self._reconcile.holds(ingress) and self._certificates.has_some(ingress)

    def _ingress_changed(self, old: Ingress | None, new: Ingress | None) -> None:
        if new is None or _is_ours(new) or not self._reconcile.holds(new):
            self._left.discard((new or old or Ingress()).key)
        elif old is not None and _is_ours(old) and old.metadata.uid == new.metadata.uid:
            # The finalizer does not say whose it is: those of all classes have the same name.
            self._left.add(new.key)
        if new is not None:
            self._consider(new.key)

    def _route_changed(self, old: HTTPRoute | None, new: HTTPRoute | None) -> None:
        if old is not None and new is None:
            self._proofs.forget(old.key)
        for route in (old, new):
            if route is not None:
                self._consider((route.namespace, _ingress_of(route)))

    def _gateway_changed(self, old: Gateway | None, new: Gateway | None) -> None:
        key = (new or old or Gateway()).key
        # A Gateway counts its routes in its status: what does not concern us wakes nobody.
        if key in (self._settings.external.gateway, self._settings.local.gateway) and _essence(old) != _essence(new):
            self.consider_all()

    def _grant_changed(self, old: ReferenceGrant | None, new: ReferenceGrant | None) -> None:
        for ingress in self._ingresses.informer.by_index(_BY_OWN_NAME, (new or old or ReferenceGrant()).name):
            self._consider(ingress.key)

    def _endpoints_changed(self, old: Endpoints | None, new: Endpoints | None) -> None:
        key = (new or old or Endpoints()).key
        if key in (self._settings.external.service, self._settings.local.service):
            for ingress in self._ingresses.informer.list():
                if _is_ours(ingress) and not is_ready(ingress):
                    self.loop.add(ingress.key)
        for ingress in self._ingresses.informer.by_index(_BY_SERVICE, "/".join(key)):
            self._proofs.hurry(ingress.key)


def _is_ours(ingress: Ingress) -> bool:
    return keys.first_present(ingress.metadata.annotations, keys.INGRESS_CLASS) == CLASS


def _ingress_of(route: HTTPRoute) -> str:
    return route.metadata.labels.get(keys.INGRESS, "")


def _services_of(ingress: Ingress) -> set[str]:
    return {
        f"{split.service_namespace}/{split.service_name}"
        for rule in ingress.spec.rules
        for path in (rule.http.paths if rule.http is not None else ())
        for split in path.splits
    }


def _by_name(ingress: Ingress, spec: IngressSpec) -> dict[str, IngressRule]:
    """Rules by the names of their routes. Raises `_Unserved` for two of one name."""
    found: dict[str, IngressRule] = {}
    for rule in spec.rules:
        name = routes.name_of(rule, ingress)
        if name in found:
            text = f"two rules have {name} as their last host, and would be the same HTTPRoute"
            raise _Unserved("NetworkConfigured", "ReconcileIngressFailed", text)
        found[name] = rule
    return found


def _is_redirected(spec: IngressSpec, rule: IngressRule) -> bool:
    """Whether a rule's hosts are asked over TLS: only who has a certificate can be."""
    is_public = rule.visibility != "ClusterLocal"
    return spec.http_option == "Redirected" and is_public and bool(tls_entries(spec, "ExternalIP"))


def _missing(choice: GatewayChoice) -> _Unserved:
    text = f"Gateway {'/'.join(choice.gateway)} does not exist"
    return _Unserved("LoadBalancerReady", "GatewayDoesNotExist", text, is_failure=True)


def _problem_of(route: HTTPRoute) -> str:
    """Why the route is not accepted; empty when it is, by every Gateway that it is attached to."""
    if not route.status.parents:
        return f"HTTPRoute {route.name}: no Gateway has looked at it yet"
    for parent in route.status.parents:
        accepted = next((found for found in parent.conditions if found.type == "Accepted"), None)
        if accepted is None or accepted.status != "True":
            said = f"{accepted.reason}: {accepted.message}" if accepted is not None else "not accepted yet"
            return f"HTTPRoute {route.name}: {said}"
    return ""


def _port_of(subset: EndpointSubset, names: tuple[str, ...]) -> int:
    """The port that is probed; 0: there is none."""
    named = next((port.port for port in subset.ports if port.name in names), 0)
    return named or (subset.ports[0].port if subset.ports else 0)


def _essence(gateway: Gateway | None) -> object:
    """What of a Gateway concerns Ingresses."""
    return (gateway.spec.get("listeners"), gateway.status.addresses) if gateway is not None else None
