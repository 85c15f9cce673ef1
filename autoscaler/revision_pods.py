"""The pods of each revision, from one informer, counted once per change instead of once per question."""

from collections.abc import Callable
from typing import NamedTuple

from autoscaler.multiscaler import RevisionKey
from autoscaler.pods import PodCounts, ReadyPod, count_pods, ready_pods
from kube.informer import Informer
from kube.models.core import Pod

__all__ = ["REVISION_LABEL", "RevisionPods"]

REVISION_LABEL = "serving.knative.dev/revision"


class _Known(NamedTuple):
    counts: PodCounts
    ready: list[ReadyPod]


class RevisionPods:
    """Answers are for reading only. `on_change(key)` is called whenever a pod of a revision changed."""

    def __init__(self, pods: Informer[Pod], on_change: Callable[[RevisionKey], None]) -> None:
        self._pods = pods
        self._on_change = on_change
        self._known: dict[RevisionKey, _Known] = {}
        pods.add_index("revision", lambda pod: ["/".join(key)] if (key := _revision(pod)) else [])
        pods.on_change(self._changed)

    def counts(self, key: RevisionKey) -> PodCounts:
        """Pods by state."""
        return self._of(key).counts

    def ready_count(self, key: RevisionKey) -> int:
        """Ready pods."""
        return self._of(key).counts.ready

    def ready(self, key: RevisionKey) -> list[ReadyPod]:
        """The ready pods' addresses and starts."""
        return self._of(key).ready

    def _of(self, key: RevisionKey) -> _Known:
        known = self._known.get(key)
        if known is None:
            pods = self._pods.by_index("revision", "/".join(key))
            known = _Known(count_pods(pods), ready_pods(pods))
            if pods:  # so that what is remembered is bounded by what exists
                self._known[key] = known
        return known

    def _changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            key = _revision(pod) if pod is not None else None
            if key is not None:
                self._known.pop(key, None)
        key = _revision(new or old)
        if key is not None:
            self._on_change(key)


def _revision(pod: Pod | None) -> RevisionKey | None:
    name = pod.metadata.labels.get(REVISION_LABEL) if pod is not None else None
    return (pod.metadata.namespace, name) if pod is not None and name else None
