"""The Brokers of the cluster as ingress and filter look at them: what matters of each, made once per change."""

from typing import Final, NamedTuple

from kube.client import Client
from kube.informer import Informer
from kube.models.duck import Addressable, AppliedPolicy
from kube.models.eventing import (
    CHANNEL_ADDRESS_ANNOTATION,
    CHANNEL_AUDIENCE_ANNOTATION,
    CHANNEL_CA_CERTS_ANNOTATION,
    Broker,
)
from proxies.logs import Logger

__all__ = ["Brokers", "Place", "Target"]

_NO_AUDIENCE: Final = ""
"""Of a Broker without an address: no token has it (spec 9.1)."""


class Place(NamedTuple):
    """Where events of one Broker go, for metrics."""

    namespace: str
    broker: str
    destination: str
    """Of the ingress the channel's URL, of the filter `trigger:<name>.<namespace>`."""


class Target:
    """One Broker. Replaced, never changed."""

    __slots__ = (
        "address",
        "audience",
        "broker",
        "broker_class",
        "channel_audience",
        "channel_ca_certs",
        "channel_url",
        "dead_letter_audience",
        "dead_letter_ca_certs",
        "dead_letter_url",
        "name",
        "namespace",
        "place",
        "policies",
    )

    def __init__(self, broker: Broker) -> None:
        status, annotations = broker.status, broker.status.annotations
        self.namespace = broker.namespace
        self.name = broker.name
        self.broker = f"Broker {broker.namespace}/{broker.name}"
        """For people."""
        self.broker_class = broker.broker_class
        self.channel_url = annotations.get(CHANNEL_ADDRESS_ANNOTATION, "")
        """Empty: there is none yet."""
        self.channel_ca_certs = annotations.get(CHANNEL_CA_CERTS_ANNOTATION, "")
        self.channel_audience = annotations.get(CHANNEL_AUDIENCE_ANNOTATION, "")
        """Empty: it asks for no token."""
        self.place = Place(self.namespace, self.name, self.channel_url)
        self.address: Addressable | None = status.address
        self.audience: str | None = _NO_AUDIENCE if status.address is None else status.address.audience
        """What tokens for it have to be for; None: nobody knows."""
        self.policies: list[AppliedPolicy] = status.policies
        self.dead_letter_url = status.dead_letter_sink_uri or ""
        self.dead_letter_ca_certs = status.dead_letter_sink_ca_certs or ""
        self.dead_letter_audience = status.dead_letter_sink_audience or ""


class Brokers:
    """Follows them all."""

    def __init__(self, client: Client, log: Logger) -> None:
        self.targets: dict[tuple[str, str], Target] = {}
        """By namespace and name."""
        self.informer = Informer(client, Broker, log=log)
        self.informer.on_change(self._changed)

    async def start(self) -> None:
        """Return when all that exist are known."""
        await self.informer.start()

    async def stop(self) -> None:
        """Follow nothing any more."""
        await self.informer.stop()

    def _changed(self, old: Broker | None, new: Broker | None) -> None:
        if new is not None:
            self.targets[new.key] = Target(new)
        elif old is not None:
            self.targets.pop(old.key, None)
