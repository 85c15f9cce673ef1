"""Create, read, update and delete: the semantics of the API, without HTTP.

Every write goes the same way: *produce the desired object → rules → defaults → admission → check → commit*. Admission
may await, so an update remembers the version it started from and starts over when another write came between; one that
insists on a version is refused then. The commit itself never awaits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from local_cluster.apiserver.admission import Admission, AdmissionRequest
from local_cluster.apiserver.applying import FieldManagement
from local_cluster.apiserver.deleting import DeleteOptions, check_preconditions, hold_of
from local_cluster.apiserver.errors import (
    Cause,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    method_not_allowed,
    not_found,
    too_large,
)
from local_cluster.apiserver.resources import Registry, ResourceType
from local_cluster.apiserver.rules import (
    check_metadata,
    check_version,
    finish_create,
    generate_name,
    is_same,
    now_text,
    prepare_create,
    prepare_update,
    raise_generation,
)
from local_cluster.apiserver.store import Store
from local_cluster.apiserver.versions import Selection, Stored

__all__ = ["Caller", "Identity", "Objects", "Policy"]

UPDATE_ATTEMPTS = 8
"""How often an unconditional update is tried again when others write in between."""
GENERATE_ATTEMPTS = 8
_NOT_ADMITTED = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
)
"""Members of metadata that admission cannot change: who an object is, and who owns its fields."""
_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
OBJECT_BYTES_MAX = 3 << 19
"""1.5 MiB, what etcd takes by default: no object gets larger, whatever it grew by."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: what a token stands for."""

    username: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who writes and how."""

    identity: Identity
    dry_run: bool = False
    manager: str = ""
    """Whom the writer calls itself (`fieldManager`); empty when it does not say."""
    agent: str = "unknown"
    """What it is called when ownership is recorded all the same."""
    is_applying: bool = False
    """Whether the written object already says who owns its fields."""
    warnings: list[str] = field(default_factory=list)
    """What the writer is told beside the answer."""


Produce: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""From the current object, which it may change, to the desired one."""


class Policy:
    """What single kinds add to the common rules. The base does nothing; see `local_cluster.apiserver.builtin`."""

    def default(self, kind: ResourceType, obj: dict[str, Any], current: dict[str, Any] | None) -> None:
        """Fill in `obj`; `current` is None on create."""

    def validate(self, kind: ResourceType, obj: dict[str, Any], current: dict[str, Any] | None) -> None:
        """Raise `StatusError` when `obj` breaks its kind's rules."""

    def place(self, kind: ResourceType, obj: dict[str, Any], current: dict[str, Any] | None, *, dry_run: bool) -> None:
        """Assign what must be unique, directly before the commit; a dry run keeps nothing. Raises `StatusError`."""

    def refuse_deletion(self, kind: ResourceType, name: str) -> None:
        """Raise `StatusError` when this object may never be deleted."""

    def committed(self, kind: ResourceType, obj: dict[str, Any]) -> None:
        """A create was committed."""


class Objects:
    """The objects of one server."""

    def __init__(
        self, store: Store, registry: Registry, admission: Admission, policy: Policy, fields: FieldManagement
    ) -> None:
        self.store = store
        self._fields = fields
        self._registry = registry
        self._admission = admission
        self._policy = policy

    def get(self, kind: ResourceType, namespace: str, name: str) -> Stored:
        """The current version. Raises 404."""
        stored = self.store.collection(kind.key).get(namespace, name)
        if stored is None:
            raise not_found(kind.group, kind.plural, name)
        return stored

    def select(self, kind: ResourceType, selection: Selection) -> list[Stored]:
        """The selected objects in order of namespace and name."""
        return self.store.collection(kind.key).select(selection)

    async def create(self, kind: ResourceType, namespace: str, obj: dict[str, Any], caller: Caller) -> Stored:
        """POST. Raises 409 when the name is taken, 404 and 403 when the namespace is absent or ending."""
        owned = (obj.get("metadata") or {}).get("managedFields") if caller.is_applying else None
        obj = prepare_create(kind, obj, namespace)
        self._check_place(kind, namespace, obj)
        self._policy.default(kind, obj, None)
        if owned is not None:
            obj["metadata"]["managedFields"] = owned
        elif caller.manager and not caller.is_applying:
            self._fields.created(kind, obj, caller.manager)
        obj = await self._admit(kind, "CREATE", namespace, obj, {}, caller)
        if kind.has_status:
            # A mutating webhook may add an empty status (api-clients 6); the stored object starts without.
            obj.pop("status", None)
            self._policy.default(kind, obj, None)
        check_metadata(kind, obj)
        self._policy.validate(kind, obj, None)
        metadata = obj["metadata"]
        collection = self.store.collection(kind.key)
        for _ in range(GENERATE_ATTEMPTS):
            if collection.get(metadata.get("namespace", ""), metadata["name"]) is None:
                break
            if not metadata.get("generateName"):
                raise already_exists(kind.group, kind.plural, metadata["name"])
            metadata["name"] = generate_name(metadata["generateName"])
        else:
            raise already_exists(kind.group, kind.plural, metadata["name"])
        self._check_place(kind, namespace, obj)
        _check_size(obj)
        finish_create(obj)
        self._policy.place(kind, obj, None, dry_run=caller.dry_run)
        stored = self._put(kind, obj, caller)
        if not caller.dry_run:
            self._policy.committed(kind, obj)
        return stored

    def create_own(self, kind: ResourceType, obj: dict[str, Any]) -> Stored:
        """Create an object of the server's own, asking no admission. The name must be free."""
        obj = prepare_create(kind, obj, obj["metadata"].get("namespace", ""))
        self._policy.default(kind, obj, None)
        finish_create(obj)
        self._policy.place(kind, obj, None, dry_run=False)
        stored = self.store.put(kind.key, kind.stored(obj))
        self._policy.committed(kind, obj)
        return stored

    async def update(
        self, kind: ResourceType, namespace: str, name: str, produce: Produce, caller: Caller, subresource: str = ""
    ) -> Stored:
        """PUT and PATCH. Raises 404, and 409 when the produced object insists on another version or UID."""
        for _ in range(UPDATE_ATTEMPTS):
            stored = self.get(kind, namespace, name)
            current = kind.shown(stored.load())
            desired = produce(kind.shown(stored.load()))
            check_version(kind, desired, current)
            given = desired["metadata"].get("managedFields")
            desired = prepare_update(kind, desired, current, namespace, name, subresource)
            if not subresource:
                self._policy.default(kind, desired, current)
            if caller.is_applying:
                desired["metadata"].pop("managedFields", None)
                if given:
                    desired["metadata"]["managedFields"] = given
            elif given or caller.manager or "managedFields" in current["metadata"]:
                self._fields.updated(
                    kind,
                    desired,
                    current,
                    given,
                    manager=caller.manager,
                    agent=caller.agent,
                    subresource=subresource,
                )
            desired = await self._admit(kind, "UPDATE", namespace, desired, current, caller, subresource)
            if kind.has_status and not subresource:
                _keep_status(desired, current)
            check_metadata(kind, desired)
            self._policy.validate(kind, desired, current)
            if not subresource:
                raise_generation(desired, current)
            if self.store.collection(kind.key).get(namespace, name) is not stored:
                continue  # producing anew finds out whether the writer insists on what is gone
            _check_size(desired)
            self._policy.place(kind, desired, current, dry_run=caller.dry_run)
            return self._commit(kind, stored, desired, current, caller)
        raise conflict(kind.group, kind.plural, name, "the object is being modified too often; please try again")

    async def delete(
        self, kind: ResourceType, namespace: str, name: str, options: DeleteOptions, caller: Caller
    ) -> tuple[Stored, bool]:
        """DELETE. The object's state, and whether it is gone (False: finalizers or a grace period hold it)."""
        self._policy.refuse_deletion(kind, name)
        old = kind.shown(self.get(kind, namespace, name).load())
        await self._admit(kind, "DELETE", namespace, {}, old, caller)
        stored = self.get(kind, namespace, name)
        check_preconditions(kind, stored, options)
        if caller.dry_run:
            return stored, hold_of(kind, stored.load(), options) is None
        return self.begin_deletion(kind, stored, options)

    def begin_deletion(self, kind: ResourceType, stored: Stored, options: DeleteOptions) -> tuple[Stored, bool]:
        """Delete without asking anyone: at once, or by marking the object when something holds it."""
        obj = stored.load()
        metadata = obj["metadata"]
        hold = hold_of(kind, obj, options)
        if hold is None:
            return self.store.remove(kind.key, stored), True
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = now_text(hold.grace_s)
            metadata["deletionGracePeriodSeconds"] = hold.grace_s
            metadata["generation"] = metadata.get("generation", 0) + 1
        elif hold.grace_s < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionTimestamp"] = now_text(hold.grace_s)
            metadata["deletionGracePeriodSeconds"] = hold.grace_s
        if hold.finalizers:
            metadata["finalizers"] = hold.finalizers
        if kind.key == "namespaces.":
            obj.setdefault("status", {})["phase"] = "Terminating"
        if is_same(obj, stored.load()):
            return stored, False
        return self.store.put(kind.key, obj), False

    def rewrite(self, kind: ResourceType, stored: Stored, obj: dict[str, Any]) -> None:
        """Commit a change of the server's own; removes the object when nothing holds it any more."""
        self._commit(kind, stored, obj, stored.load(), Caller(identity=Identity("system:apiserver")))

    def _commit(
        self, kind: ResourceType, stored: Stored, desired: dict[str, Any], current: dict[str, Any], caller: Caller
    ) -> Stored:
        metadata = desired["metadata"]
        is_done = (
            "deletionTimestamp" in metadata
            and not metadata.get("finalizers")
            and not metadata.get("deletionGracePeriodSeconds")
            and kind.key != "namespaces."
        )
        if is_same(desired, current) and not is_done:
            return stored
        if is_done and not caller.dry_run:
            return self.store.remove(kind.key, stored, kind.stored(desired))
        return self._put(kind, desired, caller)

    def _put(self, kind: ResourceType, obj: dict[str, Any], caller: Caller) -> Stored:
        """Commit `obj`, or say what would be committed."""
        write = self.store.preview if caller.dry_run else self.store.put
        return write(kind.key, kind.stored(obj))

    async def _admit(
        self,
        kind: ResourceType,
        operation: str,
        namespace: str,
        obj: dict[str, Any],
        old: dict[str, Any],
        caller: Caller,
        subresource: str = "",
    ) -> dict[str, Any]:
        metadata = (obj or old)["metadata"]
        kept = {name: metadata.get(name) for name in _NOT_ADMITTED}
        reviewed = await self._admission.review(
            AdmissionRequest(
                operation=operation,
                group=kind.group,
                version=kind.version,
                plural=kind.plural,
                kind=kind.kind,
                namespace=namespace,
                name=metadata.get("name") or "",
                object=obj,
                old_object=old,
                username=caller.identity.username,
                groups=caller.identity.groups,
                subresource=subresource,
                dry_run=caller.dry_run,
                warnings=caller.warnings,
            )
        )
        if obj:
            for name, value in kept.items():
                if value is None:
                    reviewed["metadata"].pop(name, None)
                else:
                    reviewed["metadata"][name] = value
        return reviewed

    def _check_place(self, kind: ResourceType, namespace: str, obj: dict[str, Any]) -> None:
        """Raise what an absent or ending namespace, or an ending definition, answers to a create."""
        if kind.is_custom:
            definition = self.store.collection(_DEFINITIONS).get("", kind.key)
            if definition is not None and definition.is_ending:
                why = "create not allowed while custom resource definition is terminating"
                raise method_not_allowed(("DELETE", "GET"), why)
        if not kind.namespaced:
            return
        if not namespace:
            raise bad_request("an empty namespace may not be set during creation")
        stored = self.store.collection("namespaces.").get("", namespace)
        if stored is None:
            raise not_found("", "namespaces", namespace)
        if stored.fields.get("status.phase") == "Terminating":
            name = obj["metadata"].get("name") or ""
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = Cause("metadata.namespace", "NamespaceTerminating", f"namespace {namespace} is being terminated")
            raise forbidden(kind.group, kind.plural, name, why, [cause])


def _keep_status(desired: dict[str, Any], current: dict[str, Any]) -> None:
    """Status is written by its subresource only, whatever a webhook makes of it."""
    if "status" in current:
        desired["status"] = current["status"]
    else:
        desired.pop("status", None)


def _check_size(obj: dict[str, Any]) -> None:
    """Raise 413 and 400 for what must not be stored: patches can make an object larger and deeper than any body."""
    try:
        size = len(orjson.dumps(obj))
    except TypeError as error:
        raise bad_request(f"the object cannot be written as JSON: {error}") from error
    if size > OBJECT_BYTES_MAX:
        raise too_large(OBJECT_BYTES_MAX)
