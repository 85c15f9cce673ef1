"""Subscriptions as a channel's `spec.subscribers` lists them.

Source: spec eventing-channels.md 1, 3.5, 6.4.
"""

from urllib.parse import urlsplit

from eventing.delivery import Recipient, Subscription
from eventing.retries import ONE_ATTEMPT, DeliverySettings
from kube.models.duck import DeliverySpec, SubscriberSpec

__all__ = ["settings_of", "subscription_of"]


def subscription_of(entry: SubscriberSpec, filter_host: str) -> Subscription:
    """Return what an entry asks for. Raises `ValueError` that says what is wrong with it.

    `filter_host`: authority of the broker filter's Service, whose answers tell of its subscribers' failures.
    """
    destination = Recipient.of(entry.subscriber_uri, entry.subscriber_ca_certs, entry.subscriber_audience)
    reply = Recipient.of(entry.reply_uri, entry.reply_ca_certs, entry.reply_audience)
    if destination is None and reply is None:
        raise ValueError("expected a subscriberUri or a replyUri")
    sink = entry.delivery.dead_letter_sink if entry.delivery is not None else None
    return Subscription(
        # Without one, as somebody may write it by hand, its addresses tell it from the others.
        uid=entry.uid or f"{entry.subscriber_uri} {entry.reply_uri}",
        name=entry.name or "",
        destination=destination,
        reply=reply,
        dead_letter=Recipient.of(sink.uri, sink.ca_certs, sink.audience) if sink is not None else None,
        settings=settings_of(entry.delivery),
        service_account=(entry.auth.service_account_name or "") if entry.auth is not None else "",
        unwraps_errors=destination is not None and urlsplit(destination.url).netloc == filter_host,
    )


def settings_of(delivery: DeliverySpec | None) -> DeliverySettings:
    """Return the settings of a `delivery` section; None: there is none. Raises `ValueError` naming the wrong field."""
    if delivery is None:
        return ONE_ATTEMPT
    return DeliverySettings.read(
        retry=delivery.retry,
        backoff_policy=delivery.backoff_policy,
        backoff_delay=delivery.backoff_delay,
        timeout=delivery.timeout,
        retry_after_max=delivery.retry_after_max,
    )
