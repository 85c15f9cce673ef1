"""Questions that are answered and not stored: who am I, may I, whose token is this.

Everyone who holds a token of the stack may do everything; there are no roles to evaluate.
"""

from collections.abc import Callable
from typing import Any

from local_cluster.apiserver.objects import Identity
from local_cluster.apiserver.resources import ResourceType

__all__ = ["REVIEW_KINDS", "Authenticate", "answer_review"]

Authenticate = Callable[[str], Identity | None]
"""The identity of a token, or None."""

_AUTHENTICATION, _AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"


def _review(group: str, plural: str, kind: str, *, namespaced: bool = False) -> ResourceType:
    return ResourceType(
        group=group,
        version="v1",
        plural=plural,
        kind=kind,
        namespaced=namespaced,
        verbs=("create",),
        schema=f"{group}/v1.{kind}",
    )


REVIEW_KINDS = (
    _review(_AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview"),
    _review(_AUTHENTICATION, "tokenreviews", "TokenReview"),
    _review(_AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    _review(_AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _review(_AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview"),
    _review(_AUTHORIZATION, "localsubjectaccessreviews", "LocalSubjectAccessReview", namespaced=True),
)


def answer_review(
    kind: ResourceType, review: dict[str, Any], identity: Identity, authenticate: Authenticate
) -> dict[str, Any]:
    """`review` with its status filled in."""
    status: dict[str, Any]
    match kind.kind:
        case "SelfSubjectReview":
            status = {"userInfo": _user(identity)}
        case "TokenReview":
            found = authenticate(str((review.get("spec") or {}).get("token") or ""))
            status = {"authenticated": True, "user": _user(found)} if found else {"authenticated": False}
        case "SelfSubjectRulesReview":
            rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            status = {
                "incomplete": False,
                "resourceRules": [rule],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }
        case _:
            status = {"allowed": True, "reason": "every identity of the local cluster may do everything"}
    metadata = review.get("metadata") or {}
    return {**review, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "status": status}


def _user(identity: Identity) -> dict[str, Any]:
    return {"username": identity.username, "groups": list(identity.groups)}
