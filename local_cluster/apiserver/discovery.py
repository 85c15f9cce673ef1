"""Discovery: which groups, versions and resources there are, as single documents or aggregated.

Conformance: api-clients statement 57.
"""

from typing import Any

from local_cluster.apiserver.errors import page_not_found
from local_cluster.apiserver.resources import Registry, ResourceType

__all__ = ["aggregated", "api_versions", "group", "groups", "resource_list"]

_SCALE = ("autoscaling", "v1", "Scale")


def api_versions(address: str) -> dict[str, Any]:
    """`/api`: the versions of the core group."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def groups(registry: Registry) -> dict[str, Any]:
    """`/apis`: every named group."""
    listed = [_group(name, versions) for name, versions in registry.group_versions().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def group(registry: Registry, name: str) -> dict[str, Any]:
    """`/apis/{group}`. Raises 404."""
    versions = registry.group_versions().get(name)
    if not name or versions is None:
        raise page_not_found()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resource_list(registry: Registry, group_name: str, version: str) -> dict[str, Any]:
    """`/api/v1` and `/apis/{group}/{version}`: the resources and subresources. Raises 404."""
    kinds = registry.in_group_version(group_name, version)
    if not kinds:
        raise page_not_found()
    resources = []
    for kind in kinds:
        entry: dict[str, Any] = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(kind.verbs),
        }
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        resources.append(entry)
        for name, (type_group, type_version, type_kind), verbs in _subresources(kind):
            subresource: dict[str, Any] = {
                "name": f"{kind.plural}/{name}",
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": type_kind,
                "verbs": verbs,
            }
            if (type_group, type_version) != (kind.group, kind.version):
                subresource |= {"group": type_group, "version": type_version}
            resources.append(subresource)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group_name}/{version}" if group_name else version,
        "resources": resources,
    }


def aggregated(registry: Registry, version: str, *, core: bool) -> dict[str, Any]:
    """All groups with their resources in one document: the core group for `/api`, the named ones for `/apis`."""
    items = []
    for name, versions in registry.group_versions().items():
        if (name == "") != core:
            continue
        described = [
            {
                "version": group_version,
                "resources": [_aggregated_resource(kind) for kind in registry.in_group_version(name, group_version)],
                "freshness": "Current",
            }
            for group_version in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": described})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _aggregated_resource(kind: ResourceType) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    subresources = [
        {
            "subresource": name,
            "responseKind": {"group": type_group, "version": type_version, "kind": type_kind},
            "verbs": verbs,
        }
        for name, (type_group, type_version, type_kind), verbs in _subresources(kind)
    ]
    if subresources:
        entry["subresources"] = subresources
    return entry


def _subresources(kind: ResourceType) -> list[tuple[str, tuple[str, str, str], list[str]]]:
    """Name, type and verbs of each subresource."""
    own = (kind.group, kind.version, kind.kind)
    found = [(name, _SCALE if name == "scale" else own, ["get", "patch", "update"]) for name in kind.subresources()]
    if kind.key == "pods.":
        found.append(("log", own, ["get"]))
    return found
