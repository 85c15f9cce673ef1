"""What was subscribed before a link changed or was forbidden, and annotations that nobody can read."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from controller.eventing.trigger import dependency_of
from kube.models.eventing import Trigger
from kube.models.messaging import InMemoryChannel, Subscription
from kube.models.meta import ObjectMeta
from tests.controller.eventing.cluster import Eventing, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

THEM = {"uri": "http://them"}
BROKER = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane() -> AsyncIterator[Eventing]:
    """Links between namespaces are allowed at first."""
    async with running(settings={"config-features": {"cross-namespace-event-links": "enabled"}}) as eventing:
        yield eventing


async def test_the_broker_that_a_trigger_leaves_delivers_no_more(eventing: Eventing) -> None:
    for name in ("one", "two"):
        await eventing.broker(name)
    await eventing.create(Trigger, "mine", {"brokerRef": {**BROKER, "name": "one"}, "subscriber": THEM})
    trigger = await eventing.until_ready(Trigger, "mine")
    await eventing.patch(Trigger, "mine", {"spec": {"brokerRef": {"name": "two"}}})
    await eventing.until_gone(Subscription, f"one-mine-{trigger.metadata.uid}")
    await eventing.until_ready(Subscription, f"two-mine-{trigger.metadata.uid}")
    assert (await eventing.get(InMemoryChannel, "one-kne-trigger")).spec.subscribers == []
    assert len((await eventing.get(InMemoryChannel, "two-kne-trigger")).spec.subscribers) == 1


async def test_an_entry_elsewhere_goes_though_such_links_are_forbidden_now(eventing: Eventing) -> None:
    other = await eventing.within(f"{eventing.namespace}-other")
    await other.create(InMemoryChannel, "theirs", {})
    channel: dict[str, Any] = {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "name": "theirs"}
    spec = {"channel": {**channel, "namespace": other.namespace}, "subscriber": THEM}
    await eventing.create(Subscription, "mine", spec)
    await eventing.until_ready(Subscription, "mine")
    await eventing.set_config("config-features", {"cross-namespace-event-links": "disabled"})
    await eventing.until_condition(Subscription, "mine", "ReferencesResolved", "False")
    await eventing.client.raw("DELETE", Subscription.RESOURCE.path(eventing.namespace, "mine"))
    await eventing.until_gone(Subscription, "mine")
    assert (await other.get(InMemoryChannel, "theirs")).spec.subscribers == []


async def test_a_dependency_that_is_nested_too_deep_is_refused_and_stops_nobody(eventing: Eventing) -> None:
    """The references of all Triggers are filed as they come: one that raised would end that for good."""
    deep = {"knative.dev/dependency": "[" * 5000}
    trigger = {"broker": "default", "subscriber": THEM}
    assert "not a corev1.ObjectReference" in await eventing.refusal(Trigger, "mine", trigger, annotations=deep)
    assert dependency_of(Trigger(metadata=ObjectMeta(name="mine", annotations=deep))) is None
