"""Labeler: writes on Revisions and Configurations which Routes lead to them.

From that the autoscaler knows whether a Revision can be reached, and the garbage collector which may go. Marks are
added as soon as a Route names something and removed only when the Route is ready or has failed: until then traffic may
still be on its way. Source: knative/serving `pkg/reconciler/labeler`; spec control-plane.md 9.1.
"""

from typing import Any

from controller import keys
from controller.cluster import ROUTES_INDEX, Cluster
from controller.collection import Collection, is_failed, is_ready
from kube.errors import NotFound
from kube.models.serving import Configuration, Revision, Route
from kube.timestamps import format_time

__all__ = ["FINALIZER", "Labeler", "metadata_patch"]

JsonObject = dict[str, Any]
Key = tuple[str, str]

FINALIZER = "routes.serving.knative.dev"


class Labeler:
    """Call with a Route's key."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def __call__(self, key: Key) -> float | None:
        """One pass."""
        route = self._cluster.routes.get(*key)
        if route is None:
            return None
        if route.metadata.deletion_timestamp is not None:
            await self._finalize(route)
            return None
        if FINALIZER not in route.metadata.finalizers:
            route = await self._set_finalizers(route, [*route.metadata.finalizers, FINALIZER])
        revisions, configurations = self._targets(route)
        settled = is_ready(route) or is_failed(route)
        await self._mark(self._cluster.revisions, route, revisions, removes=settled)
        await self._mark(self._cluster.configurations, route, configurations, removes=settled)
        return None

    def _targets(self, route: Route) -> tuple[set[str], set[str]]:
        """Names of the Revisions and Configurations that the Route serves or is asked to serve."""
        namespace = route.namespace
        revisions: set[str] = set()
        configurations: set[str] = set()
        for target in (*route.status.traffic, *route.spec.traffic):
            if target.revision_name:
                revision = self._cluster.revisions.get(namespace, target.revision_name)
                if revision is not None:
                    revisions.add(revision.name)
                    configurations.add(revision.metadata.labels.get(keys.CONFIGURATION, ""))
            elif target.configuration_name:
                configurations.add(target.configuration_name)
                configuration = self._cluster.configurations.get(namespace, target.configuration_name)
                if configuration is not None:
                    revisions.add(configuration.status.latest_created_revision_name)
        return revisions - {""}, configurations - {""}

    async def _mark(
        self,
        collection: Collection[Revision] | Collection[Configuration],
        route: Route,
        wanted: set[str],
        *,
        removes: bool,
    ) -> None:
        now = format_time(self._cluster.now_s())
        found: dict[str, Revision | Configuration | None] = {
            name: collection.get(route.namespace, name) for name in wanted
        }
        if removes:
            marked = collection.informer.by_index(ROUTES_INDEX, f"{route.namespace}/{route.name}")
            found |= {obj.name: obj for obj in marked}
        for name, obj in sorted(found.items()):
            if obj is None:
                continue
            is_wanted = name in wanted
            patch = metadata_patch(obj, route.name, is_wanted=is_wanted, now=now)
            if patch is not None:
                await _patch(collection, obj, patch)

    async def _finalize(self, route: Route) -> None:
        if FINALIZER not in route.metadata.finalizers:
            return
        await self._mark(self._cluster.revisions, route, set(), removes=True)
        await self._mark(self._cluster.configurations, route, set(), removes=True)
        await self._set_finalizers(route, [name for name in route.metadata.finalizers if name != FINALIZER])

    async def _set_finalizers(self, route: Route, finalizers: list[str]) -> Route:
        try:
            return await self._cluster.routes.patch(route, {"metadata": {"finalizers": finalizers}})
        except NotFound:
            return route


def metadata_patch(obj: Revision | Configuration, route_name: str, *, is_wanted: bool, now: str) -> JsonObject | None:
    """A merge patch that lists `route_name` on `obj` or takes it off, or None when nothing changes.

    A Revision also gets its routing state: active while any Route leads to it, else in reserve.
    """
    held = keys.listed(obj.metadata.annotations.get(keys.ROUTES, ""))
    routes = held | {route_name} if is_wanted else held - {route_name}
    annotations: dict[str, str | None] = {}
    if routes != held:
        annotations[keys.ROUTES] = keys.joined(routes) or None
    metadata: JsonObject = {}
    if isinstance(obj, Revision) and (is_wanted or routes != held):
        state = keys.ACTIVE if routes else keys.RESERVE
        if obj.metadata.labels.get(keys.ROUTING_STATE) != state:
            metadata["labels"] = {keys.ROUTING_STATE: state}
            annotations[keys.ROUTING_STATE_MODIFIED] = now
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata} if metadata else None


async def _patch(collection: Any, obj: Revision | Configuration, patch: JsonObject) -> None:
    """Patch; an object that is gone needs no mark."""
    try:
        await collection.patch(obj, patch)
    except NotFound:
        return
