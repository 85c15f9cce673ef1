"""From a Destination to the URL that it stands for.

A core Service is its cluster name, anything else what its status says; a URI beside a reference is joined to that by
the rules of URL references. Source: `knative.dev/pkg/resolver/addressable_resolver.go`; spec eventing-sources.md 1.1.
"""

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import msgspec

from controller.collection import Collection
from controller.eventing.ducks import AddressableDuck, Ducks, UnknownKind, reference_key
from kube.models import core
from kube.models.duck import Addressable, AddressableStatus, DeliverySpec, Destination, KReference

__all__ = ["References", "Unresolved", "delivery_within", "destination_keys", "within"]


class Unresolved(Exception):
    """There is no address; the text says why, for a condition. `is_transient`: nobody tells when that changes."""

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class References:
    """Resolves Destinations; whoever asks is to be woken by `destination_keys`."""

    def __init__(
        self, ducks: Ducks[AddressableDuck], services: Collection[core.Service], *, cluster_domain: str
    ) -> None:
        self._ducks = ducks
        self._services = services
        self._cluster_domain = cluster_domain

    async def resolve(self, destination: Destination, namespace: str) -> Addressable:
        """The address, with the certificates and the audience to use. `namespace` is the referrer's.

        Raises `Unresolved`, and what the API raises.
        """
        ref = destination.ref
        if ref is None:
            uri = destination.uri or ""
            if not _is_absolute(uri):
                raise Unresolved(f"expected a ref or an absolute uri, got {uri!r}")
            return Addressable(url=uri, ca_certs=destination.ca_certs, audience=destination.audience)
        address = await self._address_of(ref, namespace)
        if not _is_absolute(address.url):
            raise Unresolved(f"address of {ref.kind} {ref.name}: expected an absolute URL, got {address.url[:200]!r}")
        try:
            url = urljoin(_based(address.url), destination.uri) if destination.uri else address.url
        except ValueError as error:
            raise Unresolved(f"uri: expected a path, got {destination.uri!r}: {error}") from error
        return Addressable(
            name=address.name,
            url=url,
            ca_certs=destination.ca_certs or address.ca_certs,
            audience=destination.audience or address.audience,
        )

    async def find(self, ref: KReference, namespace: str) -> AddressableDuck:
        """The object that is referred to, a Service excepted. Raises as `resolve`."""
        try:
            collection = await self._ducks.of(ref.api_version, ref.kind)
        except UnknownKind as error:
            raise Unresolved(str(error), is_transient=True) from error
        found = collection.get(ref.namespace or namespace, ref.name)
        if found is None:
            raise Unresolved(f'{collection.kind.RESOURCE.plural} "{ref.name}" not found')
        return found

    async def exists(self, ref: KReference, namespace: str) -> None:
        """Raises `Unresolved` when there is no such object."""
        if ref.api_version == "v1" and ref.kind == "Service":
            if self._services.get(ref.namespace or namespace, ref.name) is None:
                raise Unresolved(f'services "{ref.name}" not found')
            return
        await self.find(ref, namespace)

    async def _address_of(self, ref: KReference, namespace: str) -> Addressable:
        if ref.api_version == "v1" and ref.kind == "Service":
            await self.exists(ref, namespace)
            return Addressable(url=f"http://{ref.name}.{ref.namespace or namespace}.svc.{self._cluster_domain}")
        address = _chosen((await self.find(ref, namespace)).status, ref.address)
        if address is None or not address.url:
            which = f" {ref.address!r}" if ref.address else ""
            raise Unresolved(f"address{which} not set for {ref.kind} {ref.namespace or namespace}/{ref.name}")
        return address


def destination_keys(destination: Destination | None, namespace: str) -> Iterator[str]:
    """What a change of which may change the address."""
    ref = destination.ref if destination is not None else None
    if ref is not None:
        yield reference_key(ref.api_version, ref.kind, ref.namespace or namespace, ref.name)


def within(destination: Destination, namespace: str) -> Destination:
    """The same Destination for an object elsewhere: with the namespace that it left out."""
    if destination.ref is None or destination.ref.namespace:
        return destination
    return msgspec.structs.replace(destination, ref=msgspec.structs.replace(destination.ref, namespace=namespace))


def delivery_within(delivery: DeliverySpec | None, namespace: str) -> DeliverySpec | None:
    """The same delivery for an object elsewhere."""
    if delivery is None or delivery.dead_letter_sink is None:
        return delivery
    return msgspec.structs.replace(delivery, dead_letter_sink=within(delivery.dead_letter_sink, namespace))


def _chosen(status: AddressableStatus, name: str) -> Addressable | None:
    if not name:
        return status.address
    return next((address for address in status.addresses if address.name == name), None)


def _is_absolute(url: str) -> bool:
    """What an object says of its address may be anything."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc)


def _based(url: str) -> str:
    """A URL without a path, made one that relative paths can be joined to."""
    return url if urlsplit(url).path else f"{url}/"
