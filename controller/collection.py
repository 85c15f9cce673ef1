"""One kind as its reconcilers see it: the local copy for reading, the API for writing.

The answer to every write goes into the copy at once, so the next reconcile does not work on what it changed itself.
"""

import contextlib
import copy
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from kube.client import Client, PatchType
from kube.conditions import Conditions, ConditionSet
from kube.errors import ApiUnreachable, Conflict, Forbidden, NotFound, TooManyRequests
from kube.informer import Informer
from kube.models.meta import Condition, Model, Resource

__all__ = ["Collection", "Reconciled", "Reconciler", "is_failed", "is_ready"]

R = TypeVar("R", bound=Resource)
Key = tuple[str, str]

NOT_OWNED_RETRY_S = 30.0
"""An object of somebody else in our place: nothing tells us when it goes."""


class Status(Protocol):
    """What every Knative status has."""

    observed_generation: int
    conditions: list[Condition]


class Reconciled(Protocol):
    """An object with such a status."""

    @property
    def status(self) -> Status: ...


class Collection(Generic[R]):
    """The objects of one kind in all namespaces."""

    def __init__(
        self,
        client: Client,
        kind: type[R],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.kind = kind
        self.informer = Informer(
            client, kind, namespace=namespace, label_selector=label_selector, field_selector=field_selector
        )
        self._client = client

    def get(self, namespace: str, name: str) -> R | None:
        """The local copy's object, or None. Read only."""
        return self.informer.get(namespace, name)

    async def read(self, namespace: str, name: str) -> R:
        """The object as the API has it, for where the copy is known to lag behind. Raises `NotFound`."""
        return self._taken(await self._client.get(self.kind, name, namespace or None))

    async def create(self, body: Mapping[str, Any]) -> R:
        """Create from a whole object as a dict. Raises `AlreadyExists` when the copy lags behind."""
        path = self.kind.RESOURCE.path(body["metadata"].get("namespace"))
        answer = await self._client.raw("POST", path, body=json.dumps(body).encode())
        return self._taken(msgspec.json.decode(answer, type=self.kind))

    async def patch(
        self, obj: R, patch: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, type: PatchType = "merge"
    ) -> R:
        """Change an object, provided that it is still as it is given: what others wrote meanwhile is not overwritten.

        Raises `Conflict` otherwise, which the loop answers by looking again.
        """
        guarded = _guarded(patch, obj.metadata.resource_version)
        return self._taken(
            await self._client.patch(self.kind, obj.metadata.name, obj.metadata.namespace, guarded, type=type)
        )

    async def set_status(self, obj: R, status: Model, *, guard: bool = False) -> R:
        """Replace the status; with `guard` only when nobody changed the object meanwhile (`Conflict` otherwise)."""
        return self._taken(await self._client.patch_status(obj, status, guard=guard))

    async def delete(self, obj: R) -> None:
        """Delete this very object; that it is gone already is fine."""
        try:
            await self._client.delete(
                self.kind, obj.metadata.name, obj.metadata.namespace or None, uid=obj.metadata.uid
            )
        except NotFound:
            return

    def _taken(self, obj: R) -> R:
        self.informer.apply_local(obj)
        return obj


@dataclass(frozen=True, slots=True)
class Reconciler(Generic[R]):
    """The envelope around one kind's logic: initial conditions before, observed generation and one write after.

    `work(obj, status, conditions)` changes `status` (a copy) and `conditions`, and returns seconds after which the key
    is wanted again, or None. The status is written even when it raises: what was found out before is worth knowing.
    Source: spec control-plane.md 2.2.
    """

    collection: Collection[R]
    conditions: ConditionSet
    work: Callable[[R, Any, Conditions], Awaitable[float | None]]
    now_s: Callable[[], float]
    finalize: Callable[[R], Awaitable[None]] | None = None
    """What is to be done before an object may go; it carries a finalizer then, named after its resource."""
    guards_status: bool = False
    """Whether others write into the status, too, so that what they wrote meanwhile must not be overwritten."""
    on_failure: Callable[[R, Exception], None] | None = None
    """Told of an object that cannot be reconciled for another reason than somebody who was faster, or a busy API."""

    async def __call__(self, key: Key) -> float | None:
        """Reconcile one object; one that is gone is left alone, and so is one that is going when it was finalized."""
        obj = self.collection.get(*key)
        if obj is None:
            return None
        if obj.metadata.deletion_timestamp is not None:
            await self.let_go(obj)
            return None
        if self.finalize is not None and self._finalizer not in obj.metadata.finalizers:
            obj = await self._set_finalizers(obj, [*obj.metadata.finalizers, self._finalizer])
        before = obj.status  # type: ignore[attr-defined] # every kind with a Reconciler has one
        status = copy.deepcopy(before)
        conditions = self.conditions.manage(status.conditions, self.now_s())
        conditions.initialise()
        if status.observed_generation != obj.metadata.generation:
            conditions.mark_unknown(
                self.conditions.happy, "NewObservedGenFailure", "unsuccessfully observed a new generation"
            )
        again_s: float | None = None
        failure: Exception | None = None
        try:
            again_s = await self.work(obj, status, conditions)
        except Exception as error:  # noqa: BLE001 - raised again below, after what was found out is written
            failure = error
        status.observed_generation = obj.metadata.generation
        status.conditions = [_groomed(condition, before.conditions) for condition in conditions.listed()]
        try:
            if status != before:
                await self.collection.set_status(obj, status, guard=self.guards_status)
        except NotFound:
            # It was deleted as we worked, and whatever failed may have failed for that.
            return None
        if isinstance(failure, NotFound):
            # A child that vanished behind our back: the copy hears of it, and then what is missing is made anew.
            raise Conflict(failure.code, failure.reason, failure.message, failure.details) from failure
        if isinstance(failure, Forbidden) and failure.is_of_terminating(obj.namespace):
            # Nothing new is made there any more, and this object goes, too.
            return None
        if failure is not None:
            if self.on_failure is not None and not isinstance(failure, Conflict | ApiUnreachable | TooManyRequests):
                self.on_failure(obj, failure)
            raise failure
        return again_s

    @property
    def _finalizer(self) -> str:
        resource = self.collection.kind.RESOURCE
        return f"{resource.plural}.{resource.group}"

    def holds(self, obj: R) -> bool:
        """Whether the object carries our finalizer."""
        return self.finalize is not None and self._finalizer in obj.metadata.finalizers

    async def let_go(self, obj: R) -> None:
        """Finalize an object that is being deleted, or is no longer ours, and take our finalizer off."""
        if self.finalize is None or not self.holds(obj):
            return
        await self.finalize(obj)
        with contextlib.suppress(NotFound):
            await self._set_finalizers(obj, [name for name in obj.metadata.finalizers if name != self._finalizer])

    async def _set_finalizers(self, obj: R, finalizers: list[str]) -> R:
        return await self.collection.patch(obj, {"metadata": {"finalizers": finalizers}})


def _guarded(patch: Mapping[str, Any] | Sequence[Mapping[str, Any]], version: str) -> object:
    """`patch`, refused with 409 when the object is no longer of that version."""
    if isinstance(patch, Mapping):
        return {**patch, "metadata": {**(patch.get("metadata") or {}), "resourceVersion": version}}
    # A version that is set, unlike one that is tested, is answered 409 when it is not the current one.
    return [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}, *patch]


def is_ready(obj: Reconciled) -> bool:
    """Ready, and so at the current generation."""
    return _happy(obj) == "True"


def is_failed(obj: Reconciled) -> bool:
    """Not ready for good, at the current generation."""
    return _happy(obj) == "False"


def happy_condition(status: Status) -> Condition | None:
    """The condition `Ready`, or None while there is none."""
    return next((condition for condition in status.conditions if condition.type == "Ready"), None)


def _happy(obj: Any) -> str:
    condition = happy_condition(obj.status)
    if condition is None or obj.status.observed_generation != obj.metadata.generation:
        return "Unknown"
    return condition.status


def _groomed(condition: Condition, before: list[Condition]) -> Condition:
    """A condition that ended as it began keeps its time, whatever it was in between."""
    for old in before:
        if old.type == condition.type and old.last_transition_time is not None:
            unchanged = msgspec.structs.replace(condition, last_transition_time=old.last_transition_time)
            if unchanged == old:
                return old
    return condition
