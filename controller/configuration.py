"""Configuration: stamps out a Revision per generation, and follows the newest that is ready.

Source: knative/serving `pkg/reconciler/configuration`; spec control-plane.md 5.2.
"""

import copy
from functools import partial
from typing import Any

import msgspec

from controller import defaulting, keys
from controller.cluster import CONFIGURATION_INDEX, Cluster
from controller.collection import Reconciler, happy_condition, is_ready
from controller.service import conflicting_revision
from kube.conditions import Conditions, ConditionSet
from kube.errors import AlreadyExists, Forbidden, Invalid
from kube.events import NORMAL, WARNING
from kube.models.serving import Configuration, ConfigurationStatus, Revision
from kube.names import child_name
from kube.timestamps import format_time

__all__ = ["CONDITIONS", "ConfigurationReconciler", "revision_for"]

JsonObject = dict[str, Any]

CONDITIONS = ConditionSet()


class ConfigurationReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[Configuration]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.configurations, CONDITIONS, self.reconcile, self._cluster.now_s)

    async def reconcile(
        self, configuration: Configuration, status: ConfigurationStatus, conditions: Conditions
    ) -> float | None:
        """One pass."""
        had_failed = conditions.is_false("Ready")
        report = partial(self._cluster.events.report, configuration)
        latest = await self._latest(configuration, conditions)
        if latest is None:
            if not had_failed:
                report(WARNING, "CreationFailed", _why(conditions))
            return None
        status.latest_created_revision_name = latest.name
        if status.latest_ready_revision_name != latest.name:
            conditions.mark_unknown("Ready", "", "")
        ready = happy_condition(latest.status)
        if ready is not None and ready.status == "False":
            message = f'Revision "{latest.name}" failed with message: {ready.message}.'
            conditions.mark_false("Ready", "RevisionFailed", message)
            if not had_failed:
                which = "Ready" if latest.name == status.latest_ready_revision_name else "Created"
                report(WARNING, f"Latest{which}Failed", f'Latest {which.lower()} revision "{latest.name}" has failed')
        newest = self._newest_ready(configuration, status)
        if newest is not None:
            if status.latest_ready_revision_name != newest.name:
                self._cluster.log.info(
                    "latest_ready_changed",
                    namespace=configuration.namespace,
                    configuration=configuration.name,
                    revision=newest.name,
                )
                if not status.latest_ready_revision_name:
                    report(NORMAL, "ConfigurationReady", "Configuration becomes ready")
                report(NORMAL, "LatestReadyUpdate", f'LatestReadyRevisionName updated to "{newest.name}"')
            status.latest_ready_revision_name = newest.name
            if newest.name == latest.name:
                conditions.mark_true("Ready")
        return None

    async def _latest(self, configuration: Configuration, conditions: Conditions) -> Revision | None:
        """The Revision of this generation, created when it is missing; None when it cannot be."""
        template = copy.deepcopy(configuration.spec.template)
        defaulting.template(template, self._cluster.settings, parent=configuration.metadata)
        name = str((template.get("metadata") or {}).get("name") or "")
        if name:
            existing = self._cluster.revisions.get(configuration.namespace, name)
            if existing is not None and conflicting_revision(existing, configuration, template):
                text = f'revisions.serving.knative.dev "{name}" already exists'
                conditions.mark_false("Ready", "RevisionFailed", f"Revision creation failed with message: {text}.")
                return None
        else:
            generation = str(configuration.metadata.generation)
            existing = next(
                (
                    revision
                    for revision in self._revisions(configuration)
                    if revision.metadata.labels.get(keys.CONFIGURATION_GENERATION) == generation
                ),
                None,
            )
        if existing is not None:
            return existing
        try:
            return await self._cluster.revisions.create(
                revision_for(configuration, template, format_time(self._cluster.now_s()))
            )
        except AlreadyExists:
            # The copy lags behind, or the name was taken just now: look again.
            raise
        except (Invalid, Forbidden) as error:
            conditions.mark_false("Ready", "RevisionFailed", f"Revision creation failed with message: {error.message}.")
            return None

    def _newest_ready(self, configuration: Configuration, status: ConfigurationStatus) -> Revision | None:
        """The newest ready Revision that is not older than the one that was it before, as long as that exists."""
        revisions = self._revisions(configuration)
        named = str((configuration.spec.template.get("metadata") or {}).get("name") or "")
        before = next((r for r in revisions if r.name == status.latest_ready_revision_name), None)
        lowest = _generation(before) if before is not None else 0
        highest = configuration.metadata.generation
        candidates = [r for r in revisions if r.name == named or lowest <= _generation(r) <= highest]
        candidates.sort(key=lambda revision: (revision.name != named, -_generation(revision)))
        return next((revision for revision in candidates if is_ready(revision)), None)

    def _revisions(self, configuration: Configuration) -> list[Revision]:
        key = f"{configuration.namespace}/{configuration.name}"
        return self._cluster.revisions.informer.by_index(CONFIGURATION_INDEX, key)


def _why(conditions: Conditions) -> str:
    """What `Ready` says."""
    ready = conditions.get("Ready")
    return ready.message if ready is not None else ""


def revision_for(configuration: Configuration, template: JsonObject, now: str) -> JsonObject:
    """The Revision of this generation. Labels and annotations come from the template only, and from the system."""
    meta = configuration.metadata
    wanted = template.get("metadata") or {}
    routed = keys.ROUTES in meta.annotations
    system = {
        keys.CONFIGURATION: meta.name,
        keys.CONFIGURATION_GENERATION: str(meta.generation),
        keys.CONFIGURATION_UID: meta.uid,
        keys.SERVICE: meta.labels.get(keys.SERVICE, ""),
        keys.SERVICE_UID: meta.labels.get(keys.SERVICE_UID, ""),
    }
    # What the system writes on Revisions is not the template's to say: a Revision that names another's Service, or a
    # Route that never was, would be served, or kept, in that one's name.
    labels = keys.without(wanted.get("labels") or {}, {*system, *keys.FROM_SYSTEM})
    annotations = keys.without(wanted.get("annotations") or {}, keys.FROM_SYSTEM)
    annotations[keys.ROUTING_STATE_MODIFIED] = now
    if meta.annotations.get(keys.LAST_MODIFIER):
        annotations[keys.CREATOR] = meta.annotations[keys.LAST_MODIFIER]
    if routed:
        annotations[keys.ROUTES] = meta.annotations[keys.ROUTES]
    return {
        "apiVersion": Revision.RESOURCE.api_version,
        "kind": "Revision",
        "metadata": {
            "name": wanted.get("name") or child_name(meta.name, f"-{meta.generation:05d}"),
            "namespace": meta.namespace,
            "labels": {
                **labels,
                **{key: value for key, value in system.items() if value},
                keys.ROUTING_STATE: keys.ACTIVE if routed else keys.PENDING,
            },
            "annotations": annotations,
            "ownerReferences": [msgspec.to_builtins(configuration.owner_reference())],
        },
        "spec": template.get("spec") or {},
    }


def _generation(revision: Revision) -> int:
    text = revision.metadata.labels.get(keys.CONFIGURATION_GENERATION, "")
    return int(text) if text.isdigit() else 0
