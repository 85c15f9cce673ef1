"""What a dispatcher tells of its deliveries: `broker/channel/metrics.py`."""

from broker.channel.fanout import Fanout, Rounds
from broker.channel.metrics import DispatchDuration
from eventing.delivery import Recipient, Subscription
from eventing.message import read_message
from proxies.fields import Field
from proxies.metrics.exposition import render
from proxies.metrics.instruments import Registry
from tests.eventing.courier import courier

_LINES = (b"ce-specversion: 1.0", b"ce-id: 1", b"ce-source: /s", b"ce-type: t")


async def test_a_sample_for_each_subscription_says_how_the_event_came_and_how_it_was_answered() -> None:
    registry = Registry()
    made, sends, _ = courier()
    fanout = Fanout(Rounds(made, DispatchDuration(registry).dispatched), "ns", "channel", is_async=False)
    fanout.subscriptions = (Subscription(uid="u", name="sub", destination=Recipient("http://a/")),)
    for scheme, status in (("http", 202), ("https", 202), ("https", 400)):
        message = read_message([Field(*line.split(b": "), line) for line in _LINES], b"")
        message.scheme = scheme
        fanout.accept(message, lambda status, reason: None)
        sends.answer(status)
    found = [line for line in render(registry).decode().splitlines() if "_count{" in line]
    assert len(found) == 3
    for scheme, status in (("http", 202), ("https", 202), ("https", 400)):
        (line,) = (each for each in found if f'url_scheme="{scheme}"' in each and f'"{status}"' in each)
        assert line.endswith(" 1")
        for label in ('kn_channel_name="channel"', 'messaging_destination_name="subscription:sub.ns"'):
            assert label in line
