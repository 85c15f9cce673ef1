"""Objects that a reconciler makes for the object that it looks after.

A child of that name that belongs to somebody else is never touched: that is what `NotOwned` says.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from controller.collection import Collection
from kube.errors import AlreadyExists
from kube.models.meta import Resource

__all__ = ["NotOwned", "child_metadata", "provide"]

R = TypeVar("R", bound=Resource)
JsonObject = dict[str, Any]


class NotOwned(Exception):
    """Somebody else's object stands where ours should be."""


def child_metadata(
    owner: Resource,
    name: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    *,
    namespace: str = "",
) -> JsonObject:
    """Metadata of a child of `owner`, in the owner's namespace unless it says otherwise."""
    found: JsonObject = {"name": name, "namespace": namespace or owner.namespace}
    if labels:
        found["labels"] = dict(labels)
    if annotations:
        found["annotations"] = dict(annotations)
    found["ownerReferences"] = [msgspec.to_builtins(owner.owner_reference())]
    return found


async def provide(
    collection: Collection[R],
    owner: Resource,
    wanted: JsonObject,
    *,
    fields: tuple[str, ...] = (),
    annotations: str = "",
) -> R:
    """The child, made or changed so that it is as `wanted`; of its spec only `fields` are looked at (empty: all).

    Labels and annotations that others added stay, but for annotations that begin with `annotations`: all of these are
    the owner's. Raises `NotOwned` and what the API raises.
    """
    meta = wanted["metadata"]
    existing = collection.get(meta["namespace"], meta["name"])
    if existing is None:
        try:
            return await collection.create(wanted)
        except AlreadyExists:
            # The copy lags behind, or somebody else's object is filtered out of it: look at the object itself.
            existing = await collection.read(meta["namespace"], meta["name"])
    if not existing.is_controlled_by(owner):
        kind = collection.kind.RESOURCE.kind
        raise NotOwned(f'{kind} "{existing.name}" exists and does not belong to {owner.kind} "{owner.name}"')
    patch = _patch(existing, wanted, fields, annotations)
    return await collection.patch(existing, patch) if patch else existing


def _patch(existing: Resource, wanted: JsonObject, fields: tuple[str, ...], annotations: str) -> JsonObject:
    """A merge patch from what is to what should be; empty when nothing differs."""
    patch: JsonObject = {}
    meta = wanted["metadata"]
    changed: dict[str, dict[str, str | None]] = {
        name: {key: text for key, text in meta.get(name, {}).items() if held.get(key) != text}
        for name, held in (("labels", existing.metadata.labels), ("annotations", existing.metadata.annotations))
    }
    if annotations:
        surplus = existing.metadata.annotations.keys() - meta.get("annotations", {}).keys()
        changed["annotations"] |= {key: None for key in surplus if key.startswith(annotations)}
    changed = {name: differing for name, differing in changed.items() if differing}
    if changed:
        patch["metadata"] = changed
    # Both by way of the model, so that only what it knows is compared, with defaults left out alike.
    shape: Any = type(existing)
    is_spec: JsonObject = msgspec.to_builtins(existing).get("spec") or {}
    model = msgspec.convert({"spec": wanted.get("spec") or {}}, shape)
    wanted_spec: JsonObject = msgspec.to_builtins(model).get("spec") or {}
    differing_fields = {
        name: _merge(is_spec.get(name), wanted_spec.get(name))
        for name in (fields or sorted({*is_spec, *wanted_spec}))
        if is_spec.get(name) != wanted_spec.get(name)
    }
    if differing_fields:
        patch["spec"] = differing_fields
    return patch


def _merge(held: Any, wanted: Any) -> Any:
    """What to put into a merge patch so that `held` becomes `wanted`."""
    if not isinstance(held, dict) or not isinstance(wanted, dict):
        return wanted
    return {
        name: _merge(held.get(name), wanted.get(name))
        for name in {*held, *wanted}
        if held.get(name) != wanted.get(name)
    }
