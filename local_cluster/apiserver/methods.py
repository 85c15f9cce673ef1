"""Which HTTP methods a path has: what the router lets through, a 405 names in `Allow`, and OpenAPI documents list."""

from local_cluster.apiserver.errors import page_not_found
from local_cluster.apiserver.resources import ResourceType

__all__ = ["allowed_methods"]

_READ, _ASK = ("GET",), ("POST",)
_COLLECTION = ("DELETE", "GET", "POST")
_OBJECT = ("DELETE", "GET", "PATCH", "PUT")
_PART = ("GET", "PATCH", "PUT")
_SPECIAL = {("pods.", "log"): _READ, ("serviceaccounts.", "token"): _ASK}
"""Parts that only one kind has."""


def allowed_methods(kind: ResourceType, namespace: str, name: str, subresource: str) -> tuple[str, ...]:
    """The methods of the collection, object or part that a path names. Raises 404 for a part that is not offered.

    Objects of namespaced kinds have no path without a namespace, and all namespaces together can only be read.
    """
    if kind.verbs == ("create",):
        return () if name else _ASK
    if kind.namespaced and not namespace:
        return () if name else _READ
    if not name:
        return _COLLECTION
    if not subresource:
        return _OBJECT
    special = _SPECIAL.get((kind.key, subresource))
    if special is not None:
        return special
    if subresource not in kind.subresources():
        raise page_not_found()
    return _PART
