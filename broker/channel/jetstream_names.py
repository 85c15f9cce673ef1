"""What streams, subjects and consumers are called. Source: spec eventing-channels.md 9.2.

Upper case and `_` for `-` make one stream name of several pairs of names (`a--b/c` and `a/b--c`). Their subjects
differ, and a stream that takes other subjects than a channel's own is refused to it.
"""

from typing import Final

__all__ = [
    "CONSUMER_PREFIX",
    "broker_stream",
    "broker_subject",
    "channel_stream",
    "channel_subject",
    "consumer_by_name",
    "consumer_by_uid",
]

CONSUMER_PREFIX: Final = "KN_SUB_"
"""Of every consumer that is ours, or was another dispatcher's."""


def channel_stream(namespace: str, name: str) -> str:
    """Return the stream of a channel."""
    return f"KN_{_upper(namespace)}__{_upper(name)}"


def channel_subject(namespace: str, name: str) -> str:
    """Return where a channel's events are published."""
    return f"{namespace}.{_token(name)}._knative"


def broker_stream(namespace: str, name: str) -> str:
    """Return the stream of a Broker of class JetStreamBroker; no channel's stream begins so."""
    return f"KNB_{_upper(namespace)}__{_upper(name)}"


def broker_subject(namespace: str, name: str) -> str:
    """Return where a Broker's events are published."""
    return f"{namespace}.{_token(name)}._knative_broker"


def consumer_by_uid(uid: str) -> str:
    """Return the consumer of a subscription; one made anew with the same name has another."""
    return CONSUMER_PREFIX + uid.replace("-", "").upper()


def consumer_by_name(namespace: str, name: str) -> str:
    """Return the consumer of a subscription that is to go on when it is made anew with the same name."""
    # Here `-` stays: two consumers of one stream must never have one name, and no name of Kubernetes has a `_`.
    return f"{CONSUMER_PREFIX}{namespace.upper()}__{name.upper().replace('.', '_')}"


def _upper(name: str) -> str:
    # A dot parts the tokens of a subject, so that no stream or consumer has one in its name.
    return name.upper().replace("-", "_").replace(".", "_")


def _token(name: str) -> str:
    return name.replace(".", "_")
