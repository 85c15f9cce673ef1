"""What RBAC manifests allow, as sets that can be compared with what was asked."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Request", "Right", "rights_of", "uncovered", "unused"]


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource that one account may use."""

    account: str
    group: str
    resource: str
    verb: str
    namespace: str = ""
    """Where; empty: everywhere."""
    name: str = ""
    """Of the object; empty: any."""

    @property
    def what(self) -> tuple[str, str, str, str]:
        return self.account, self.group, self.resource, self.verb


@dataclass(frozen=True, order=True)
class Request:
    """One kind of request, as an authorizer sees it."""

    account: str
    group: str
    resource: str
    verb: str
    namespace: str
    """Empty: of all namespaces, or of a kind that has none."""
    name: str
    """Empty: of the collection."""

    def is_covered_by(self, right: Right) -> bool:
        is_where = right.namespace in ("", self.namespace)
        # A list or watch by name is one of a collection to the authorizer, unless its field selector says the name.
        is_named = right.name in ("", self.name) or (not self.name and self.verb in ("list", "watch"))
        asked = (self.account, self.group, self.resource, self.verb)
        return asked == right.what and is_where and is_named


def rights_of(objects: Iterable[Mapping[str, Any]]) -> list[Right]:
    """All rights that the role bindings among these objects give to service accounts."""
    objects = list(objects)
    roles = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in objects
        if each["kind"] in ("Role", "ClusterRole")
    }
    found: list[Right] = []
    for binding in objects:
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            namespace = binding["metadata"].get("namespace", "")
            reference = binding["roleRef"]
            role_namespace = namespace if reference["kind"] == "Role" else ""
            role = roles[reference["kind"], role_namespace, reference["name"]]
            for subject in binding["subjects"]:
                assert subject["kind"] == "ServiceAccount"
                found += _rights(subject["name"], namespace, role["rules"])
    return found


def _rights(account: str, namespace: str, rules: Iterable[Mapping[str, Any]]) -> Iterator[Right]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [""]):
                        yield Right(account, group, resource, verb, namespace, name)


def uncovered(requests: Iterable[Request], rights: Iterable[Right]) -> list[Request]:
    """Requests that no right allows."""
    rights = list(rights)
    return sorted(each for each in requests if not any(each.is_covered_by(right) for right in rights))


def unused(rights: Iterable[Right], requests: Iterable[Request]) -> list[Right]:
    """Rights that no request needed."""
    requests = list(requests)
    return sorted(right for right in rights if not any(each.is_covered_by(right) for each in requests))
