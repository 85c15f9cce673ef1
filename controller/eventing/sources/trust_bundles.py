"""The authorities of the cluster for subjects of SinkBindings, which can mount only what is in their own namespace.

Each ConfigMap of the system namespace that is labelled as a trust bundle has a copy in the namespace of every binding.
A copy belongs to all bindings there and goes with the last of them. Its keys begin with the bundle's name: all copies
are mounted into one folder. Names of the copies stand in the binding's status, where admission finds them.

Source: knative/eventing `pkg/eventingtls/trust_bundle.go`; spec eventing-sources.md 4.2, eventing-broker.md 3.3.
"""

from typing import Any, Final

import msgspec

from controller.eventing.children import NotOwned
from controller.eventing.cluster import EventingCluster
from eventing.bundles import Bundles
from kube.models.core import ConfigMap
from kube.models.sources import SinkBinding, SinkBindingStatus
from kube.names import child_name

__all__ = ["BUNDLES_ANNOTATION", "TrustBundles", "bundle_names"]

JsonObject = dict[str, Any]

BUNDLES_ANNOTATION: Final = "eventing.knuv.dev/trust-bundles"
"""In a binding's status: names of the copies, with commas between."""
_COPY_LABEL: Final = "eventing.knuv.dev/trust-bundle-copy"
_KEY_MAX: Final = 253


def bundle_names(status: SinkBindingStatus) -> tuple[str, ...]:
    """Return the ConfigMaps that a binding's subjects mount."""
    text = status.annotations.get(BUNDLES_ANNOTATION, "")
    return tuple(text.split(",")) if text else ()


class TrustBundles:
    """Keeps the copies as their bundles are."""

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster

    async def provide(self, binding: SinkBinding, status: SinkBindingStatus) -> None:
        """Make or change the copies for a binding, and name them in its status.

        Raises `NotOwned`, and what the API raises: the status names what it named before.
        """
        config_maps, namespace = self._cluster.config_maps, binding.namespace
        bundles = {
            child_name(each.name, "-kne-bundle"): each
            for each in config_maps.informer.list(self._cluster.system_namespace)
            if Bundles.is_one(each)
        }
        for copy in config_maps.informer.list(namespace):
            if _COPY_LABEL in copy.metadata.labels and copy.name not in bundles:
                await config_maps.delete(copy)
        for name, bundle in sorted(bundles.items()):
            await self._provide_copy(binding, name, bundle)
        if bundles:
            status.annotations[BUNDLES_ANNOTATION] = ",".join(sorted(bundles))
        else:
            status.annotations.pop(BUNDLES_ANNOTATION, None)

    async def _provide_copy(self, binding: SinkBinding, name: str, bundle: ConfigMap) -> None:
        config_maps, namespace = self._cluster.config_maps, binding.namespace
        data = {f"{bundle.name}.{key}"[-_KEY_MAX:]: text for key, text in bundle.data.items()}
        existing: ConfigMap | None = config_maps.get(namespace, name)
        if existing is None:
            metadata = {"name": name, "namespace": namespace, "labels": {_COPY_LABEL: "true"}}
            owned = {**metadata, "ownerReferences": [_owner(binding)]}
            await config_maps.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": owned, "data": data})
            return
        if _COPY_LABEL not in existing.metadata.labels:
            raise NotOwned(f'ConfigMap "{name}" exists and is no copy of trust bundle "{bundle.name}"')
        owners = existing.metadata.owner_references
        operations: list[JsonObject] = []
        if existing.data != data:
            operations.append({"op": "add", "path": "/data", "value": data})
        if all(owner.uid != binding.metadata.uid for owner in owners):
            held = [msgspec.to_builtins(owner) for owner in owners]
            operations.append({"op": "add", "path": "/metadata/ownerReferences", "value": [*held, _owner(binding)]})
        if operations:
            await config_maps.patch(existing, operations, type="json")


def _owner(binding: SinkBinding) -> JsonObject:
    """One of several: none of them is the controller."""
    info = binding.RESOURCE
    return {"apiVersion": info.api_version, "kind": info.kind, "name": binding.name, "uid": binding.metadata.uid}
