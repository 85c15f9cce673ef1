"""A status that the data plane writes into, too: what it wrote while we worked is not overwritten."""

import pytest

from controller.collection import Collection, Reconciler
from kube.conditions import Conditions, ConditionSet
from kube.errors import Conflict
from kube.models.duck import ChannelableStatus
from kube.models.messaging import InMemoryChannel
from tests.controller.eventing.cluster import Eventing, running


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_a_guarded_status_gives_way_to_who_was_faster(is_guarded: bool) -> None:
    """Without the guard the other's part is lost: that is what the guard is for."""
    async with running(acts=False) as eventing:
        eventing.dispatchers.silent.add("default")
        collection = Collection(eventing.client, InMemoryChannel)
        await collection.informer.start()
        await eventing.create(InMemoryChannel, "mine", {})
        await collection.read("default", "mine")

        async def work(channel: InMemoryChannel, _status: ChannelableStatus, conditions: Conditions) -> None:
            await tell(eventing, channel)
            conditions.mark_true("Addressable")

        reconcile = Reconciler(collection, ConditionSet(("Addressable",)), work, lambda: 0.0, guards_status=is_guarded)
        try:
            if is_guarded:
                with pytest.raises(Conflict):
                    await reconcile(("default", "mine"))
            else:
                await reconcile(("default", "mine"))
        finally:
            await collection.informer.stop()
        told = (await eventing.get(InMemoryChannel, "mine")).status.subscribers
        assert [each.uid for each in told] == (["theirs"] if is_guarded else [])


async def tell(eventing: Eventing, channel: InMemoryChannel) -> None:
    """What a dispatcher does meanwhile."""
    status = {"subscribers": [{"uid": "theirs"}]}
    await eventing.client.patch(
        InMemoryChannel, channel.name, channel.namespace, {"status": status}, subresource="status"
    )
