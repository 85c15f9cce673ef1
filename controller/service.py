"""Service: keeps a Configuration and a Route of the same name, and tells their states as one.

Source: knative/serving `pkg/reconciler/service`; spec control-plane.md 5.1.
"""

import json
from typing import Any

import msgspec

from controller import defaulting, keys
from controller.cluster import Cluster
from controller.collection import NOT_OWNED_RETRY_S, Reconciler, happy_condition
from kube.conditions import Conditions, ConditionSet
from kube.models.meta import Condition
from kube.models.serving import (
    Configuration,
    ConfigurationStatus,
    Revision,
    Route,
    RouteStatus,
    Service,
    ServiceStatus,
    TrafficTarget,
)

__all__ = ["CONDITIONS", "ServiceReconciler", "configuration_for", "conflicting_revision", "route_for"]

JsonObject = dict[str, Any]

CONDITIONS = ConditionSet(("ConfigurationsReady", "RoutesReady"))


class ServiceReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[Service]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.services, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(self, service: Service, status: ServiceStatus, conditions: Conditions) -> float | None:
        """One pass."""
        configuration = await self._configuration(service)
        if not configuration.is_controlled_by(service):
            message = f'There is an existing Configuration "{service.name}" that we do not own.'
            conditions.mark_false("ConfigurationsReady", "NotOwned", message)
            return NOT_OWNED_RETRY_S
        template_name = _template_name(service.spec.template)
        if configuration.metadata.generation != configuration.status.observed_generation:
            conditions.mark_unknown(
                "ConfigurationsReady",
                "OutOfDate",
                "The Configuration is still working to reflect the latest desired specification.",
            )
            # A named Revision may turn out to be taken: traffic must not move before that is known.
            if template_name:
                return None
        else:
            _copy_configuration(configuration.status, status, conditions)
        if template_name:
            taken = self._cluster.revisions.get(service.namespace, template_name)
            template = _defaulted(service.spec.template, service, self._cluster)
            if taken is not None and conflicting_revision(taken, configuration, template):
                message = (
                    f'The revision name "{template_name}" is taken by a conflicting Revision, '
                    "so traffic will not be migrated"
                )
                conditions.mark_false("RoutesReady", "RevisionNameTaken", message)
                return None
        return await self._route_state(service, configuration, status, conditions)

    async def _route_state(
        self, service: Service, configuration: Configuration, status: ServiceStatus, conditions: Conditions
    ) -> float | None:
        route = await self._route(service)
        if not route.is_controlled_by(service):
            message = f'There is an existing Route "{service.name}" that we do not own.'
            conditions.mark_false("RoutesReady", "NotOwned", message)
            return NOT_OWNED_RETRY_S
        if route.metadata.generation != route.status.observed_generation:
            conditions.mark_unknown(
                "RoutesReady",
                "OutOfDate",
                "The Route is still working to reflect the latest desired specification.",
            )
            return None
        _copy_route(route.status, status, conditions)
        if conditions.is_true("RoutesReady") and not _is_migrated(route, configuration.status):
            conditions.mark_unknown(
                "RoutesReady", "TrafficNotMigrated", "Traffic is not yet migrated to the latest revision."
            )
        return None

    async def _configuration(self, service: Service) -> Configuration:
        configurations = self._cluster.configurations
        existing = configurations.get(service.namespace, service.name)
        wanted = configuration_for(service, existing)
        if existing is None:
            return await configurations.create(wanted)
        if not existing.is_controlled_by(service):
            return existing
        template = _defaulted(wanted["spec"]["template"], service, self._cluster)
        held = _defaulted(existing.spec.template, service, self._cluster)
        operations = _drift(existing, wanted)
        if template != held:
            operations.append({"op": "add", "path": "/spec/template", "value": wanted["spec"]["template"]})
        return await configurations.patch(existing, operations, type="json") if operations else existing

    async def _route(self, service: Service) -> Route:
        routes = self._cluster.routes
        existing = routes.get(service.namespace, service.name)
        wanted = route_for(service)
        if existing is None:
            return await routes.create(wanted)
        if not existing.is_controlled_by(service):
            return existing
        operations = _drift(existing, wanted)
        if existing.spec != msgspec.convert(wanted["spec"], type(existing.spec)):
            operations.append({"op": "add", "path": "/spec/traffic", "value": wanted["spec"]["traffic"]})
        return await routes.patch(existing, operations, type="json") if operations else existing


def configuration_for(service: Service, existing: Configuration | None) -> JsonObject:
    """The Configuration as it should be. Which Routes lead to it is kept, and the Service's own added."""
    routes = keys.listed(existing.metadata.annotations.get(keys.ROUTES, "")) if existing is not None else set()
    meta = service.metadata
    return {
        "apiVersion": Configuration.RESOURCE.api_version,
        "kind": "Configuration",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": {**meta.labels, keys.SERVICE: meta.name, keys.SERVICE_UID: meta.uid},
            "annotations": {
                **keys.without(meta.annotations, (keys.LAST_APPLIED, *keys.ROLLOUT_DURATION)),
                keys.ROUTES: keys.joined({*routes, meta.name}),
            },
            "ownerReferences": [msgspec.to_builtins(service.owner_reference())],
        },
        "spec": {"template": service.spec.template},
    }


def route_for(service: Service) -> JsonObject:
    """The Route as it should be: targets that name no Revision follow the Service's Configuration."""
    meta = service.metadata
    traffic = [
        target if target.revision_name else msgspec.structs.replace(target, configuration_name=meta.name)
        for target in defaulting.traffic_targets(service.spec.traffic)
    ]
    return {
        "apiVersion": Route.RESOURCE.api_version,
        "kind": "Route",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": {**meta.labels, keys.SERVICE: meta.name},
            "annotations": keys.without(meta.annotations, (keys.LAST_APPLIED,)),
            "ownerReferences": [msgspec.to_builtins(service.owner_reference())],
        },
        "spec": {"traffic": [msgspec.to_builtins(target) for target in traffic]},
    }


def conflicting_revision(revision: Revision, configuration: Configuration, template: JsonObject) -> bool:
    """Whether a Revision that has the name asked for is another one than the template describes."""
    if not revision.is_controlled_by(configuration):
        return True
    generation = revision.metadata.labels.get(keys.CONFIGURATION_GENERATION)
    return generation != str(configuration.metadata.generation) and revision.spec != template.get("spec")


def _drift(existing: Configuration | Route, wanted: JsonObject) -> list[JsonObject]:
    meta = wanted["metadata"]
    return [
        {"op": "add", "path": f"/metadata/{name}", "value": meta[name]}
        for name, held in (("labels", existing.metadata.labels), ("annotations", existing.metadata.annotations))
        if held != meta[name]
    ]


def _defaulted(template: JsonObject, service: Service, cluster: Cluster) -> JsonObject:
    """A copy with defaults, so that a default that came later does not count as a change."""
    copied: JsonObject = json.loads(json.dumps(template))
    return defaulting.template(copied, cluster.settings, parent=service.metadata)


def _template_name(template: JsonObject) -> str:
    return str((template.get("metadata") or {}).get("name") or "")


def _copy_configuration(source: ConfigurationStatus, status: ServiceStatus, conditions: Conditions) -> None:
    status.latest_ready_revision_name = source.latest_ready_revision_name
    status.latest_created_revision_name = source.latest_created_revision_name
    _copy(happy_condition(source), "ConfigurationsReady", conditions)


def _copy_route(source: RouteStatus, status: ServiceStatus, conditions: Conditions) -> None:
    status.url = source.url
    status.address = source.address
    status.traffic = source.traffic
    _copy(happy_condition(source), "RoutesReady", conditions)


def _copy(source: Condition | None, type_: str, conditions: Conditions) -> None:
    if source is None:
        return
    if source.status == "True":
        conditions.mark_true(type_)
    elif source.status == "False":
        conditions.mark_false(type_, source.reason, source.message)
    else:
        conditions.mark_unknown(type_, source.reason, source.message)


def _is_migrated(route: Route, configuration: ConfigurationStatus) -> bool:
    """Whether the Route serves what its spec asks for, with the newest Revision that is ready."""

    def comparable(target: TrafficTarget) -> tuple[str, str, int]:
        revision = target.revision_name or configuration.latest_ready_revision_name
        return target.tag, revision, target.percent or 0

    wanted = [comparable(target) for target in route.spec.traffic]
    return wanted == [comparable(target) for target in route.status.traffic]
