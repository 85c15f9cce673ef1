"""The service accounts that senders send with while OIDC is on.

Source: knative/eventing `pkg/auth/serviceaccount.go`.
"""

import msgspec

from controller.eventing.children import child_metadata
from controller.eventing.cluster import EventingCluster
from kube.conditions import Conditions
from kube.errors import AlreadyExists, Conflict
from kube.models import core
from kube.models.duck import Auth
from kube.models.meta import Resource, ResourceInfo
from kube.names import child_name

__all__ = ["identity_name", "provide_identity"]


def identity_name(info: ResourceInfo, name: str) -> str:
    """The service account of an object of that kind."""
    return child_name(name, f"-oidc-{info.group}-{info.kind}").lower()


async def provide_identity(
    cluster: EventingCluster, obj: Resource, auth: Auth | None, conditions: Conditions
) -> Auth | None:
    """The identity for an object's status, made if it is not there; None while OIDC is off.

    Nobody tells us when an account is deleted, so what a status says is looked after again now and then.
    An account that belongs to somebody else is nobody's to send with, and one of a predecessor of the same name is
    about to be collected: raises `Conflict` while there is one, so that the object is looked at again.
    """
    if not cluster.settings.features.is_oidc_on:
        conditions.mark_true("OIDCIdentityCreated", "authentication-oidc feature disabled")
        return None
    name = identity_name(obj.RESOURCE, obj.name)
    is_told = auth is not None and auth.service_account_name == name
    if not is_told or not cluster.accounts.is_known((obj.namespace, name)):
        held = await _made(cluster, obj, name)
        if not held.is_controlled_by(obj):
            text = f'ServiceAccount "{name}" exists and does not belong to {obj.kind} "{obj.name}"'
            conditions.mark_false("OIDCIdentityCreated", "NotOwned", text)
            raise Conflict(409, "AlreadyExists", text)
        cluster.accounts.note((obj.namespace, name))
    conditions.mark_true("OIDCIdentityCreated")
    return Auth(service_account_name=name)


async def _made(cluster: EventingCluster, obj: Resource, name: str) -> core.ServiceAccount:
    """The account of that name, whosever it is."""
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": child_metadata(obj, name)}
    path = core.ServiceAccount.RESOURCE.path(obj.namespace)
    try:
        answer = await cluster.client.raw("POST", path, body=msgspec.json.encode(body))
    except AlreadyExists:
        return await cluster.client.get(core.ServiceAccount, name, obj.namespace)
    return msgspec.json.decode(answer, type=core.ServiceAccount)
