"""Takes revisions from zero to one pod by itself while the autoscaler cannot be told that somebody waits for them.

Only from zero, only to one, and only what is certain: requests wait, there is no pod, and there has been no connection
to the autoscaler, all of it for a while. What becomes of the pod is the autoscaler's business as soon as it is back.

    each second, the connection down:  revisions that wait --after_s--> PodAutoscaler -> its Deployment's scale
                                         0 replicas      patched to 1, unless somebody else was faster
                                         1 and more      nothing: a pod is on its way
    what cannot be done is said once and tried again later: for one revision, or, when the API refuses, for all

Rights that it needs: `get` of podautoscalers, `get` and `patch` of deployments/scale.
"""

import asyncio
from collections.abc import Collection
from typing import Final

import msgspec

from activator.loads import RevisionKey
from kube.client import Client
from kube.errors import ApiError, ApiUnreachable, Conflict, NotFound
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler
from kube.models.meta import ObjectMeta
from proxies.logs import Logger

__all__ = ["Waker"]

WAKES_AT_ONCE_MAX: Final = 8
"""Revisions that are woken at once; the others have their turn a second later."""
_CLASS: Final = "autoscaling.knative.dev/class"
_KPA: Final = "kpa.autoscaling.knative.dev"
"""The class of autoscaler that goes by what activators report; others have reasons of their own."""
_AGAIN_S: Final = 60.0
"""Until the same revision is looked at again, whatever came of it: who took it back to zero may have had a reason."""
_REFUSED_FIRST_S: Final = 2.0
_REFUSED_MAX_S: Final = 60.0
"""Pause for all revisions after the API refused or was not there; twice as long each time."""


class _ScaleSpec(msgspec.Struct):
    replicas: int = 0
    """Kubernetes leaves a 0 out."""


class _Scale(msgspec.Struct):
    """`autoscaling/v1` Scale, as far as it is needed."""

    metadata: ObjectMeta
    spec: _ScaleSpec = msgspec.field(default_factory=_ScaleSpec)


class Waker:
    """`tick` once a second; `after_s`: how long a revision must have waited; `stop` ends what is under way."""

    def __init__(self, client: Client, log: Logger, *, after_s: float) -> None:
        self._client = client
        self._log = log
        self._after_s = after_s
        self._since_s: dict[RevisionKey, float] = {}
        self._again_s: dict[RevisionKey, float] = {}
        self._refused_s = _REFUSED_FIRST_S
        self._paused_until_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def tick(self, stuck: Collection[RevisionKey], now_s: float) -> None:
        """`stuck`: revisions whose requests wait without a pod, while the autoscaler cannot be told; else none."""
        since_s = self._since_s
        self._since_s = {key: since_s.get(key, now_s) for key in stuck}
        self._again_s = {key: due_s for key, due_s in self._again_s.items() if due_s > now_s}
        for key, began_s in self._since_s.items():
            if now_s < self._paused_until_s or len(self._tasks) == WAKES_AT_ONCE_MAX:
                return
            if now_s - began_s >= self._after_s and key not in self._again_s:
                self._again_s[key] = now_s + _AGAIN_S
                task = asyncio.get_running_loop().create_task(self._wake(key, now_s - began_s), name="waker")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Wake no more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _wake(self, key: RevisionKey, waited_s: float) -> None:
        namespace, name = key.namespace.decode(), key.name.decode()
        try:
            woken = await self._scale_from_zero(namespace, name)
        except Conflict:
            # Somebody else was faster: another activator, or the autoscaler.
            return
        except NotFound as error:
            self._log.warning("wake_impossible", namespace=namespace, revision=name, error=str(error))
            return
        except (ApiError, ApiUnreachable, msgspec.DecodeError) as error:
            self._again_s.pop(key, None)
            now_s = asyncio.get_running_loop().time()
            if now_s >= self._paused_until_s:
                pause_s = self._refused_s
                self._paused_until_s = now_s + pause_s
                self._refused_s = min(2 * pause_s, _REFUSED_MAX_S)
                self._log.warning(
                    "wake_refused", namespace=namespace, revision=name, error=str(error), again_after_s=pause_s
                )
            return
        self._refused_s = _REFUSED_FIRST_S
        if woken:
            self._log.info(
                "woken_without_autoscaler",
                namespace=namespace,
                revision=name,
                deployment=woken,
                waited_s=round(waited_s, 1),
            )

    async def _scale_from_zero(self, namespace: str, name: str) -> str:
        """Take the revision's target from zero to one; its name, empty when it is not at zero. Raises API errors."""
        autoscaler = await self._client.get(PodAutoscaler, name, namespace)
        scaled_by = autoscaler.metadata.annotations.get(_CLASS, _KPA)
        if scaled_by != _KPA:
            raise NotFound(404, "NotFound", f"PodAutoscaler {name} is of class {scaled_by!r}, not {_KPA!r}")
        target = autoscaler.spec.scale_target_ref
        if target.kind != Deployment.RESOURCE.kind:
            raise NotFound(
                404, "NotFound", f"PodAutoscaler {name} has a target of kind {target.kind!r}, not Deployment"
            )
        path = Deployment.RESOURCE.path(namespace, target.name, "scale")
        scale = msgspec.json.decode(await self._client.raw("GET", path), type=_Scale)
        if scale.spec.replicas:
            return ""
        # With its version: nobody else's change is undone.
        patch = {"metadata": {"resourceVersion": scale.metadata.resource_version}, "spec": {"replicas": 1}}
        body = msgspec.json.encode(patch)
        await self._client.raw("PATCH", path, body=body, content_type="application/merge-patch+json")
        return target.name
