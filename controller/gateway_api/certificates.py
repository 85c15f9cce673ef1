"""Certificates of Ingresses at their Gateway: listeners and grants as wanted there, and none anywhere else.

Which Gateways have listeners of an Ingress is read from the Gateways themselves, so that those of a Gateway that
`config-gateway` named before us are found, too.
"""

from controller.collection import Collection
from controller.covering import covers
from controller.gateway_api import listeners
from controller.gateway_api.settings import GatewayChoice
from kube.models.gateway_api import Gateway, ReferenceGrant
from kube.models.networking import Ingress, IngressSpec

__all__ = ["Certificates"]

_BY_NAME = "name"
_BY_LISTENER = "listener"


class Certificates:
    """Of all Ingresses."""

    def __init__(self, gateways: Collection[Gateway], grants: Collection[ReferenceGrant]) -> None:
        """Before the collections are started."""
        self._gateways = gateways
        self._grants = grants
        gateways.informer.add_index(_BY_LISTENER, listeners.owners_of)
        grants.informer.add_index(_BY_NAME, lambda grant: [grant.name])

    def has_some(self, ingress: Ingress) -> bool:
        """Whether there is a listener or a grant of the Ingress."""
        name = listeners.name_of(ingress)
        informers = (self._gateways.informer, _BY_LISTENER), (self._grants.informer, _BY_NAME)
        return any(informer.by_index(index, name) for informer, index in informers)

    async def put(self, ingress: Ingress, spec: IngressSpec, choice: GatewayChoice) -> bool:
        """Make them as wanted; False, and nothing done, when they need the Gateway and it does not exist."""
        wanted = listeners.listeners(ingress, spec)
        gateway = self._gateways.get(*choice.gateway)
        if wanted and gateway is None:
            return False
        bodies = {body["metadata"]["namespace"]: body for body in listeners.grants(ingress, wanted, choice)}
        for grant in self._grants.informer.by_index(_BY_NAME, listeners.name_of(ingress)):
            body = bodies.pop(grant.namespace, None)
            if body is None:
                await self._grants.delete(grant)
            elif not covers(grant.spec, body["spec"]):
                await self._grants.patch(grant, {"spec": body["spec"]})
        for body in bodies.values():
            await self._grants.create(body)
        if gateway is not None:
            await self._put_listeners(gateway, ingress, wanted)
        for other in self._gateways.informer.by_index(_BY_LISTENER, listeners.name_of(ingress)):
            if other.key != choice.gateway:
                await self._put_listeners(other, ingress, [])
        return True

    async def remove(self, ingress: Ingress, choice: GatewayChoice) -> None:
        """Take away all of them."""
        await self.put(ingress, IngressSpec(), choice)

    async def _put_listeners(self, gateway: Gateway, ingress: Ingress, wanted: list[listeners.JsonObject]) -> None:
        own = [each for each in gateway.spec.get("listeners") or () if listeners.is_of(each, ingress)]
        all_ = listeners.with_listeners(gateway, ingress, wanted)
        # A Gateway has one listener at least: the last is left to whoever deletes the Gateway, and nobody waits for it.
        if all_ and not covers(own, wanted):
            await self._gateways.patch(gateway, {"spec": {"listeners": all_}})
