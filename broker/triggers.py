"""The Triggers of the cluster as the filter looks at them: their filters compiled, once per change."""

from typing import Final

from broker.brokers import Place
from eventing.filters.dialects import Matches, compile_trigger
from kube.client import Client
from kube.informer import Informer
from kube.models.eventing import Trigger, TriggerSpec
from kube.names import child_name
from proxies.logs import Logger

__all__ = ["Recipient", "Subscriber", "Triggers"]

_JSON: Final = "json"


class Recipient:
    """Where events go, in whose name, and what for people to call it."""

    __slots__ = ("account", "audience", "ca_certs", "namespace", "url")

    def __init__(self, url: str, ca_certs: str, audience: str, namespace: str, account: str) -> None:
        self.url = url
        self.ca_certs = ca_certs
        self.audience = audience
        """Empty: it asks for no token."""
        self.namespace = namespace
        """Of the Trigger, and of its account."""
        self.account = account
        """The service account whose token is shown; empty: none."""


class Subscriber:
    """One Trigger. Replaced, never changed."""

    __slots__ = (
        "account",
        "broker",
        "dead_letter",
        "is_structured",
        "matches",
        "name",
        "namespace",
        "namespace_line",
        "place",
        "recipient",
        "subscription",
        "trigger",
        "uid",
        "wanted_type",
    )

    def __init__(self, trigger: Trigger, log: Logger) -> None:
        status, spec = trigger.status, trigger.spec
        self.namespace = trigger.namespace
        self.name = trigger.name
        self.namespace_line = b"Kn-Namespace: " + self.namespace.encode()
        self.uid = trigger.metadata.uid
        self.trigger = f"Trigger {trigger.namespace}/{trigger.name}"
        """For people."""
        self.broker = trigger.broker_key
        self.subscription = child_name(f"{self.broker[1]}-{self.name}-", self.uid)
        """The name of its Subscription, which stands beside it."""
        self.place = Place(self.broker[0], self.broker[1], f"trigger:{self.name}.{self.namespace}")
        self.account = (status.auth.service_account_name or "") if status.auth is not None else ""
        self.recipient = Recipient(
            status.subscriber_uri or "",
            status.subscriber_ca_certs or "",
            status.subscriber_audience or "",
            self.namespace,
            self.account,
        )
        self.dead_letter = Recipient(
            status.dead_letter_sink_uri or "",
            status.dead_letter_sink_ca_certs or "",
            status.dead_letter_sink_audience or "",
            self.namespace,
            self.account,
        )
        self.is_structured = spec.delivery is not None and spec.delivery.format == _JSON
        """Events are sent in the JSON format (spec 7.5)."""

        def problem(text: str) -> None:
            log.warning("filter_unusable", trigger=f"{trigger.namespace}/{trigger.name}", problem=text)

        self.matches: Matches | None = None
        """None: every event is wanted."""
        if spec.filters or spec.filter is not None:
            self.matches = compile_trigger(spec.filters, spec.filter, problem)
        self.wanted_type = _wanted_type(spec)
        """The only type that `matches` lets through; None: any may pass."""


class Triggers:
    """Follows them all."""

    def __init__(self, client: Client, log: Logger) -> None:
        self.subscribers: dict[tuple[str, str], Subscriber] = {}
        """By namespace and name."""
        self._log = log
        self.informer = Informer(client, Trigger, log=log)
        self.informer.on_change(self._changed)

    async def start(self) -> None:
        """Return when all that exist are known."""
        await self.informer.start()

    async def stop(self) -> None:
        """Follow nothing any more."""
        await self.informer.stop()

    def _changed(self, old: Trigger | None, new: Trigger | None) -> None:
        if new is not None:
            self.subscribers[new.key] = Subscriber(new, self._log)
        elif old is not None:
            self.subscribers.pop(old.key, None)


def _wanted_type(spec: TriggerSpec) -> str | None:
    """Return the type that every event must have, as far as that can be seen without looking into composites."""
    if not spec.filters:
        wanted = ((spec.filter or {}).get("attributes") or {}).get("type")
        return wanted or None
    for each in spec.filters:
        exact = each.get("exact") or {}
        # With an empty value among others the filter is none (spec 8.4).
        if exact.get("type") and all(exact.values()):
            found: str = exact["type"]
            return found
    return None
