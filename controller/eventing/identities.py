"""The service accounts that senders send with while OIDC is on.

Source: knative/eventing `pkg/auth/serviceaccount.go`.
"""

import contextlib

import msgspec

from controller.eventing.children import child_metadata
from controller.eventing.cluster import EventingCluster
from kube.conditions import Conditions
from kube.errors import AlreadyExists
from kube.models import core
from kube.models.duck import Auth
from kube.models.meta import Resource
from kube.names import child_name

__all__ = ["provide_identity"]


async def provide_identity(
    cluster: EventingCluster, obj: Resource, auth: Auth | None, conditions: Conditions
) -> Auth | None:
    """The identity for an object's status, made if it is not there; None while OIDC is off."""
    if not cluster.settings.features.is_oidc_on:
        conditions.mark_true("OIDCIdentityCreated", "authentication-oidc feature disabled")
        return None
    info = obj.RESOURCE
    name = child_name(obj.name, f"-oidc-{info.group}-{info.kind}").lower()
    if auth is None or auth.service_account_name != name:
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": child_metadata(obj, name)}
        path = core.ServiceAccount.RESOURCE.path(obj.namespace)
        with contextlib.suppress(AlreadyExists):
            await cluster.client.raw("POST", path, body=msgspec.json.encode(body))
    conditions.mark_true("OIDCIdentityCreated")
    return Auth(service_account_name=name)
