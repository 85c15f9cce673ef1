"""Paths of objects: a name is one segment, whatever somebody has written there."""

import pytest

from kube.models.meta import ResourceInfo

ACCOUNTS = ResourceInfo("", "v1", "serviceaccounts", "ServiceAccount")
ROLES = ResourceInfo("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("default", "default"),
        ("a.b-c", "a.b-c"),
        ("system:node", "system:node"),
        ("a/token?x=1#y", "a%2Ftoken%3Fx%3D1%23y"),
        ("a%2Fb", "a%252Fb"),
        ("ä b", "%C3%A4%20b"),
    ],
)
def test_a_name_is_one_segment(name: str, segment: str) -> None:
    assert ACCOUNTS.path("ns", name, "token") == f"/api/v1/namespaces/ns/serviceaccounts/{segment}/token"
    assert ACCOUNTS.path(name) == f"/api/v1/namespaces/{segment}/serviceaccounts"
    assert ROLES.path(None, name) == f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{segment}"
