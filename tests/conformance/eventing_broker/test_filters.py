"""Statements 69 to 82: which events a Trigger gets. `tests/eventing` turns every dialect over, and has the TCK."""

from typing import Any

import pytest

from tests.conformance.eventing_broker.world import EVENT, TTL, World, running_sink

pytestmark = pytest.mark.asyncio(loop_scope="session")

PLAIN = EVENT
OTHER_CASE = [*EVENT[:3], "ce-type: A"]
WITH_FOO = [*EVENT, "ce-foo: bar"]
WITH_EMPTY_FOO = [*EVENT, "ce-foo: "]
DEEP = {
    "all": [{"any": [{"not": {"exact": {"foo": "bar"}}}, {"prefix": {"source": "/no"}}]}, {"suffix": {"type": "a"}}]
}

ROWS: list[tuple[str, dict[str, Any], list[list[str]], list[list[str]]]] = [
    # number, what of the spec, who gets through, who does not
    ("69", {}, [PLAIN, OTHER_CASE, WITH_FOO], []),
    ("70", {"filter": {"attributes": {"type": "a"}}}, [PLAIN], [OTHER_CASE]),
    ("71", {"filter": {"attributes": {"foo": ""}}}, [WITH_FOO], [PLAIN, WITH_EMPTY_FOO]),
    ("72", {"filter": {"attributes": {"type": "z"}}, "filters": [{"exact": {"type": "a"}}]}, [PLAIN], [OTHER_CASE]),
    ("72 empty", {"filter": {"attributes": {"type": "a"}}, "filters": []}, [PLAIN], [OTHER_CASE]),
    ("73", {"filters": [{"prefix": {"type": "a", "foo": "b"}}]}, [WITH_FOO], [PLAIN]),
    ("73 suffix", {"filters": [{"suffix": {"type": "a", "foo": "r"}}]}, [WITH_FOO], [PLAIN]),
    ("74", {"filters": [{"exact": {"foo": "bar"}}]}, [WITH_FOO], [PLAIN]),
    ("75", {"filters": [{"not": {"exact": {"foo": "bar"}}}]}, [PLAIN], [WITH_FOO]),
    ("76 any", {"filters": [{"any": [{"exact": {"foo": "x"}}, {"exact": {"type": "a"}}]}]}, [PLAIN], [OTHER_CASE]),
    ("76 all", {"filters": [{"all": [{"exact": {"foo": "bar"}}, {"exact": {"type": "a"}}]}]}, [WITH_FOO], [PLAIN]),
    ("77 object", {"filters": [{}]}, [PLAIN], []),
    ("77 not", {"filters": [{"not": {}}]}, [PLAIN], []),
    ("78", {"filters": [DEEP]}, [PLAIN], [WITH_FOO, OTHER_CASE]),
    ("79", {"filters": [{"cesql": "foo = 'bar'"}]}, [WITH_FOO], [PLAIN]),
    ("79 not", {"filters": [{"cesql": "NOT (foo = 'x')"}]}, [WITH_FOO], [PLAIN]),
    ("80", {"filters": [{"cesql": "EXISTS foo"}]}, [WITH_FOO, WITH_EMPTY_FOO], [PLAIN]),
    ("81", {"filters": [{"cesql": "type LIKE 'a%' AND 1 + 1 = 2"}]}, [PLAIN], [OTHER_CASE]),
    ("82", {"filters": [{"exact": {"type": ""}}]}, [PLAIN, OTHER_CASE], []),
    ("passages", {"filters": [{"cesql": "EXISTS knativebrokerttl"}]}, [], [PLAIN]),
    ("arrival", {"filters": [{"cesql": "EXISTS knativearrivaltime"}]}, [[*EVENT, "ce-knativearrivaltime: x"]], [PLAIN]),
]


@pytest.mark.parametrize(("spec", "through", "kept"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_statements_69_to_82(
    world: World, spec: dict[str, Any], through: list[list[str]], kept: list[list[str]]
) -> None:
    async with running_sink() as subscriber:
        trigger = await world.trigger(subscriber, spec=spec)
        assert [(await world.dispatch(trigger, [*event, TTL])).status for event in through] == [202] * len(through)
        assert [(await world.dispatch(trigger, [*event, TTL])).status for event in kept] == [200] * len(kept)
        assert len(subscriber.bodies) == len(through)


async def test_a_changed_filter_counts_at_once(world: World) -> None:
    async with running_sink() as subscriber:
        trigger = await world.trigger(subscriber, spec={"filters": [{"exact": {"type": "other"}}]})
        assert (await world.dispatch(trigger)).status == 200
        patch = {"spec": {"filters": [{"exact": {"type": "a"}}]}}
        await world.client.patch(type(trigger), trigger.name, "ns", patch)
        await world.trigger(None)  # seen in their order
        assert (await world.dispatch(trigger)).status == 202
