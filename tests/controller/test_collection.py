"""The envelope around a reconciler: what is written, when, and what is not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controller.collection import Reconciler
from controller.route import CONDITIONS
from kube.conditions import Conditions
from kube.errors import Forbidden, TooManyRequests
from kube.models.meta import Condition, ObjectMeta
from kube.models.serving import Route, RouteStatus
from kube.timestamps import format_time

LONG_AGO, NOW_S = format_time(0), 1_800_000_000.0
Work = Callable[[Any, Any, Conditions], Awaitable[float | None]]


class Held:
    """A collection of one Route that remembers what was written."""

    def __init__(self, route: Route | None) -> None:
        self.route = route
        self.written: list[RouteStatus] = []

    def get(self, namespace: str, name: str) -> Route | None:
        return self.route

    async def set_status(self, obj: Route, status: RouteStatus, *, guard: bool = False) -> Route:
        self.written.append(status)
        return obj


def ready_route(generation: int = 1) -> Route:
    conditions = [
        Condition(type=type_, status="True", last_transition_time=LONG_AGO)
        for type_ in sorted((*CONDITIONS.dependents, "Ready"))
    ]
    return Route(
        metadata=ObjectMeta(name="web", generation=generation),
        status=RouteStatus(observed_generation=1, conditions=conditions),
    )


async def reconciled(held: Held, work: Work) -> float | None:
    return await Reconciler(held, CONDITIONS, work, lambda: NOW_S)(("", "web"))  # type: ignore[arg-type] # a stand-in


async def confirm(route: Route, status: RouteStatus, conditions: Conditions) -> float | None:
    for type_ in CONDITIONS.dependents:
        conditions.mark_true(type_)
    return 7.0


async def test_nothing_is_written_when_nothing_changed() -> None:
    held = Held(ready_route())
    assert await reconciled(held, confirm) == 7.0
    assert held.written == []


async def test_a_condition_that_ends_as_it_began_keeps_its_time() -> None:
    held = Held(ready_route(generation=2))
    await reconciled(held, confirm)
    (status,) = held.written
    assert status.observed_generation == 2
    assert {condition.last_transition_time for condition in status.conditions} == {LONG_AGO}


async def test_a_new_generation_is_not_ready_until_it_is_confirmed() -> None:
    async def do_nothing(route: Route, status: RouteStatus, conditions: Conditions) -> float | None:
        return None

    held = Held(ready_route(generation=2))
    await reconciled(held, do_nothing)
    ready = next(condition for condition in held.written[0].conditions if condition.type == "Ready")
    assert (ready.status, ready.reason) == ("Unknown", "NewObservedGenFailure")
    assert ready.last_transition_time == format_time(NOW_S)


async def test_what_was_found_out_before_a_failure_is_written() -> None:
    async def fail(route: Route, status: RouteStatus, conditions: Conditions) -> float | None:
        conditions.mark_false("IngressReady", "Broken", "no gateway")
        raise ValueError("cannot go on")

    held = Held(ready_route())
    with pytest.raises(ValueError, match="cannot go on"):
        await reconciled(held, fail)
    assert [c.reason for c in held.written[0].conditions if c.type == "IngressReady"] == ["Broken"]


async def test_a_cancelled_pass_writes_nothing() -> None:
    async def wait(route: Route, status: RouteStatus, conditions: Conditions) -> float | None:
        conditions.mark_false("IngressReady", "Broken", "half done")
        raise asyncio.CancelledError

    held = Held(ready_route())
    with pytest.raises(asyncio.CancelledError):
        await reconciled(held, wait)
    assert held.written == []


async def test_what_is_gone_or_going_is_left_alone() -> None:
    going = ready_route(generation=2)
    going.metadata.deletion_timestamp = LONG_AGO
    for held in (Held(None), Held(going)):
        assert await reconciled(held, confirm) is None
        assert held.written == []


def terminating(namespace: str) -> Forbidden:
    cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}
    return Forbidden(403, "Forbidden", "unable to create new content", {"causes": [cause]})


@pytest.mark.parametrize(("namespace", "is_tried_again"), [("here", False), ("there", True), ("her", True)])
async def test_what_cannot_be_made_since_the_namespace_goes_is_not_tried_again(
    namespace: str, is_tried_again: bool
) -> None:
    async def fail(route: Route, status: RouteStatus, conditions: Conditions) -> float | None:
        conditions.mark_false("IngressReady", "Broken", "no gateway")
        raise terminating(namespace)

    told: list[Exception] = []
    route = ready_route()
    route.metadata.namespace = "here"
    held = Held(route)
    reconciler = Reconciler(
        held,  # type: ignore[arg-type] # a stand-in
        CONDITIONS,
        fail,
        lambda: NOW_S,
        on_failure=lambda _obj, error: told.append(error),
    )
    if is_tried_again:
        with pytest.raises(Forbidden):
            await reconciler(("here", "web"))
    else:
        assert await reconciler(("here", "web")) is None
    assert len(held.written) == 1
    assert bool(told) == is_tried_again


async def test_an_api_with_too_much_to_do_is_not_asked_for_an_event_as_well() -> None:
    async def fail(route: Route, status: RouteStatus, conditions: Conditions) -> float | None:
        raise TooManyRequests(429, "TooManyRequests", "later")

    told: list[Exception] = []
    reconciler = Reconciler(
        Held(ready_route()),  # type: ignore[arg-type] # a stand-in
        CONDITIONS,
        fail,
        lambda: NOW_S,
        on_failure=lambda _obj, error: told.append(error),
    )
    with pytest.raises(TooManyRequests):
        await reconciler(("", "web"))
    assert told == []
