"""Lists of subscribers: what is written, together and under contention, and which delivery an entry has."""

import asyncio
from typing import Any

import pytest

from controller.eventing.ducks import ChannelDuck
from controller.eventing.subscribers import SubscriberLists, merged
from controller.eventing.subscription import effective_delivery
from kube.errors import Conflict
from kube.models.duck import DeliverySpec, Destination, SubscriberSpec
from kube.models.messaging import InMemoryChannel, PhysicalSubscription
from kube.models.meta import ResourceInfo


def test_entries_keep_their_places_and_new_ones_follow() -> None:
    held = [SubscriberSpec(uid="a", generation=1), SubscriberSpec(uid="b"), SubscriberSpec(uid="c")]
    entries = {"d": SubscriberSpec(uid="d"), "a": SubscriberSpec(uid="a", generation=2), "b": None}
    assert [(each.uid, each.generation) for each in merged(held, entries)] == [("a", 2), ("c", 0), ("d", 0)]


_SINK = PhysicalSubscription(dead_letter_sink_uri="http://sink", dead_letter_sink_audience="them")
_DESTINATION = Destination(uri="http://sink", audience="them")


@pytest.mark.parametrize(
    ("own", "channels", "physical", "effective"),
    [
        (None, None, PhysicalSubscription(), None),
        (None, DeliverySpec(retry=3), PhysicalSubscription(), DeliverySpec(retry=3)),
        (DeliverySpec(), DeliverySpec(retry=3), PhysicalSubscription(), DeliverySpec()),
        (DeliverySpec(retry=1, format="json"), None, PhysicalSubscription(), DeliverySpec(retry=1)),
        (None, None, _SINK, DeliverySpec(dead_letter_sink=_DESTINATION)),
        (DeliverySpec(retry=1), DeliverySpec(timeout="PT1S"), _SINK,
         DeliverySpec(retry=1, dead_letter_sink=_DESTINATION)),
    ],
)  # fmt: skip
def test_delivery_is_the_subscriptions_or_the_channels_and_never_a_mixture(
    own: DeliverySpec | None,
    channels: DeliverySpec | None,
    physical: PhysicalSubscription,
    effective: DeliverySpec | None,
) -> None:
    assert effective_delivery(own, channels, physical) == effective


class _Contended:
    """A channel into which somebody else writes before each of our first `losses` writes."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.channel = ChannelDuck()
        self.kind: type[InMemoryChannel] = InMemoryChannel
        self.written: list[list[str]] = []

    def get(self, namespace: str, name: str) -> ChannelDuck:
        return self.channel

    async def read(self, namespace: str, name: str) -> ChannelDuck:
        return self.channel

    async def patch(self, channel: ChannelDuck, patch: Any) -> ChannelDuck:
        if self.losses:
            self.losses -= 1
            raise Conflict(409, "Conflict", "faster", {})
        self.written.append([each["uid"] for each in patch["spec"]["subscribers"]])
        return channel


@pytest.mark.parametrize(("losses", "is_refused"), [(3, False), (4, True)])
async def test_a_channel_under_contention_is_tried_again_a_bounded_number_of_times(
    losses: int, is_refused: bool
) -> None:
    lists, contended = SubscriberLists(), _Contended(losses)
    writing = lists.put(contended, contended.channel, SubscriberSpec(uid="u"))  # type: ignore[arg-type] # a stand-in
    if is_refused:
        with pytest.raises(Conflict):
            await writing
    else:
        await writing
    await lists.stop()


async def test_a_writer_that_is_stopped_lets_go_of_who_waits() -> None:
    class Hanging(_Contended):
        async def patch(self, channel: ChannelDuck, patch: object) -> ChannelDuck:
            await asyncio.Event().wait()
            return channel

    lists, hanging = SubscriberLists(), Hanging(0)
    put = lists.put(hanging, hanging.channel, SubscriberSpec(uid="u"))  # type: ignore[arg-type] # a stand-in
    waiting = asyncio.ensure_future(put)
    await asyncio.sleep(0)
    await lists.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_kinds_of_one_name_in_two_groups_are_written_apart() -> None:
    class Theirs(InMemoryChannel):
        RESOURCE = ResourceInfo("example.com", "v1", "inmemorychannels", "InMemoryChannel")

    ours, theirs = _Contended(0), _Contended(0)
    theirs.kind = Theirs
    lists, entries = SubscriberLists(), (SubscriberSpec(uid="a"), SubscriberSpec(uid="b"))
    await asyncio.gather(
        *(
            lists.put(each, each.channel, entry)  # type: ignore[arg-type] # a stand-in
            for each, entry in zip((ours, theirs), entries, strict=True)
        )
    )
    await lists.stop()
    assert [each.written for each in (ours, theirs)] == [[["a"]], [["b"]]]
