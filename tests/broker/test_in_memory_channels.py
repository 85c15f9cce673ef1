"""What becomes of channels that are served when their objects change: `broker/channel/in_memory_channels.py`."""

from typing import Any

import msgspec

from broker.channel.in_memory_channels import InMemoryChannels
from eventing.delivery import Subscription
from kube.client import Client
from kube.config import ApiConfig
from kube.models.messaging import InMemoryChannel
from proxies.logs import Logger


class _Served:
    def __init__(self) -> None:
        self.subscriptions: tuple[Subscription, ...] = ()
        self.unclear: frozenset[str] = frozenset()

    def remove(self) -> None:
        pass


class _Named(_Served):
    def __init__(self, namespace: str) -> None:
        super().__init__()
        self.namespace = namespace


def _channel(*subscribers: dict[str, Any]) -> InMemoryChannel:
    content = {
        "metadata": {"name": "channel", "namespace": "ns"},
        "spec": {"subscribers": list(subscribers)},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "address": {"url": "http://channel.ns.svc.cluster.local"},
        },
    }
    return msgspec.convert(content, InMemoryChannel)


async def test_an_entry_that_becomes_wrong_is_no_end_of_its_subscription() -> None:
    served = _Served()
    channels = InMemoryChannels(
        Client(ApiConfig(server="http://unused")),
        lambda namespace, name, is_async: served,  # type: ignore[arg-type,return-value] # of a channel only this
        filter_host="filter",
        namespace=None,
        log=Logger("test", write=lambda line: None),
    )
    good = {"uid": "a", "subscriberUri": "http://a/", "delivery": {"retry": 3, "backoffDelay": "PT1S"}}
    other = {"uid": "b", "subscriberUri": "http://b/"}
    channels._changed(None, _channel(good, other))
    assert [(each.uid, each.settings.backoff_s) for each in served.subscriptions] == [("a", 1.0), ("b", None)]
    wrong = {**good, "delivery": {"retry": 3, "backoffDelay": "a while"}}
    channels._changed(None, _channel(wrong, other, {**wrong, "uid": "new"}))
    assert [(each.uid, each.settings.backoff_s) for each in served.subscriptions] == [("a", 1.0), ("b", None)]
    assert served.unclear == {"a", "new"}
    channels._changed(None, _channel(other))
    assert [each.uid for each in served.subscriptions] == ["b"]


async def test_nobody_gets_anothers_events_by_saying_that_the_host_is_his() -> None:
    channels = InMemoryChannels(
        Client(ApiConfig(server="http://unused")),
        lambda namespace, name, is_async: _Named(namespace),  # type: ignore[arg-type,return-value]
        filter_host="filter",
        namespace=None,
        log=Logger("test", write=lambda line: None),
    )
    ours = _channel()
    theirs = msgspec.convert(
        {**msgspec.to_builtins(_channel()), "metadata": {"name": "other", "namespace": "evil"}}, InMemoryChannel
    )

    def namespace_of() -> str:
        return channels.find(b"channel.ns.svc.cluster.local", b"/").namespace  # type: ignore[union-attr]

    channels._changed(None, theirs)
    channels._changed(None, ours)
    assert namespace_of() == "ns"
    channels._changed(theirs, None)
    assert namespace_of() == "ns"
