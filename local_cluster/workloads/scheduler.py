"""The scheduler of a cluster with one node: every pod without a node gets it."""

from kube.client import Client
from kube.errors import NotFound
from kube.informer import Informer
from kube.models.core import Pod
from kube.reconcile import Loop
from proxies.logs import Logger

__all__ = ["Scheduler"]

Key = tuple[str, str]


class Scheduler:
    """Places pods that were created without a node. Pods of ReplicaSets name theirs from the start."""

    def __init__(self, client: Client, pods: Informer[Pod], *, node_name: str, log: Logger) -> None:
        self._client = client
        self._pods = pods
        self._node_name = node_name
        self.loop: Loop[Key] = Loop("scheduler", self._reconcile, workers=16, log=log)
        pods.on_change(self._changed)

    def _changed(self, _old: Pod | None, new: Pod | None) -> None:
        if new is not None and not new.spec.node_name and new.metadata.deletion_timestamp is None:
            self.loop.add(new.key)

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.get(*key)
        if pod is None or pod.spec.node_name:
            return None
        patch = {"metadata": {"uid": pod.metadata.uid}, "spec": {"nodeName": self._node_name}}
        try:
            await self._client.patch(Pod, pod.name, pod.namespace, patch)
        except NotFound:
            return None
        return None
