"""Garbage collection of Revisions: those without traffic go when they are old, or too many.

Pure part: `collectable`. Only Revisions in `reserve` may go: a `pending` one has not been looked at by its Route yet.
Nobody is told of a bound that time passes, so the reconciler comes back by itself when the next Revision grows old.
Source: knative/serving `pkg/reconciler/gc/gc.go`; spec control-plane.md 9.2.
"""

from collections.abc import Sequence

from controller import keys
from controller.cluster import CONFIGURATION_INDEX, Cluster
from controller.settings import GarbageCollection
from kube.errors import ApiError
from kube.models.serving import Revision
from kube.timestamps import parse_time_s

__all__ = ["GarbageCollector", "collectable", "next_stale_s"]

Key = tuple[str, str]

_LOOK_AGAIN_MIN_S = 1.0


class GarbageCollector:
    """Call with a Configuration's key."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def __call__(self, key: Key) -> float | None:
        """One pass; seconds after which time alone may have made something collectable."""
        configuration = self._cluster.configurations.get(*key)
        if configuration is None or configuration.metadata.deletion_timestamp is not None:
            return None
        rules = self._cluster.settings.gc
        now_s = self._cluster.now_s()
        revisions = [
            revision
            for revision in self._cluster.revisions.informer.by_index(CONFIGURATION_INDEX, "/".join(key))
            if revision.metadata.deletion_timestamp is None and revision.is_controlled_by(configuration)
        ]
        latest = configuration.status.latest_ready_revision_name
        for revision in collectable(revisions, latest, rules, now_s):
            try:
                await self._cluster.revisions.delete(revision)
            except ApiError as error:
                # The others go all the same; the next event of this Configuration tries again.
                self._cluster.log.warning(
                    "revision_not_collected",
                    namespace=revision.namespace,
                    revision=revision.name,
                    error=str(error),
                )
            else:
                self._cluster.log.info("revision_collected", namespace=revision.namespace, revision=revision.name)
        return next_stale_s(revisions, latest, rules, now_s)


def collectable(
    revisions: Sequence[Revision], latest_ready: str, rules: GarbageCollection, now_s: float
) -> list[Revision]:
    """Which of a Configuration's Revisions are to be deleted at `now_s` (Unix), oldest first."""
    if (
        rules.non_active_max is None
        and rules.retain_since_create_s is None
        and rules.retain_since_last_active_s is None
    ):
        return []
    lowest = rules.non_active_min
    candidates = _candidates(revisions, latest_ready)
    if len(revisions) <= lowest or len(candidates) <= lowest:
        return []
    stale = [revision for revision in candidates if _stale_at_s(revision, rules) <= now_s]
    may_go = len(candidates) - lowest
    if len(stale) >= may_go:
        # The fewest that are to be kept are left: the bound on how many there may be is not asked any more.
        return stale[:may_go]
    gone = {revision.name for revision in stale}
    rest = [revision for revision in candidates if revision.name not in gone]
    surplus = len(rest) - rules.non_active_max if rules.non_active_max is not None else 0
    return stale + rest[: max(0, surplus)]


def next_stale_s(
    revisions: Sequence[Revision], latest_ready: str, rules: GarbageCollection, now_s: float
) -> float | None:
    """Seconds until another candidate grows too old, or None when none will, or none could go then."""
    candidates = _candidates(revisions, latest_ready)
    if len(candidates) <= rules.non_active_min:
        return None
    due_s = [at_s for at_s in (_stale_at_s(revision, rules) for revision in candidates) if now_s < at_s < float("inf")]
    return max(_LOOK_AGAIN_MIN_S, min(due_s) - now_s) if due_s else None


def _candidates(revisions: Sequence[Revision], latest_ready: str) -> list[Revision]:
    """Those that may go at all, least recently active first."""
    found = [
        revision
        for revision in revisions
        if revision.name != latest_ready
        and revision.metadata.annotations.get(keys.NO_GC, "").lower() != "true"
        and revision.metadata.labels.get(keys.ROUTING_STATE) == keys.RESERVE
    ]
    return sorted(found, key=lambda revision: (_last_active_s(revision), revision.name))


def _stale_at_s(revision: Revision, rules: GarbageCollection) -> float:
    """When it is too old by every bound that is in force; infinity without one."""
    bounds = []
    if rules.retain_since_create_s is not None:
        bounds.append(_created_s(revision) + rules.retain_since_create_s)
    if rules.retain_since_last_active_s is not None:
        bounds.append(_last_active_s(revision) + rules.retain_since_last_active_s)
    return max(bounds, default=float("inf"))


def _created_s(revision: Revision) -> float:
    created = revision.metadata.creation_timestamp
    return parse_time_s(created) if created else float("inf")


def _last_active_s(revision: Revision) -> float:
    text = revision.metadata.annotations.get(keys.ROUTING_STATE_MODIFIED)
    try:
        return parse_time_s(text) if text else _created_s(revision)
    except ValueError:
        return _created_s(revision)
