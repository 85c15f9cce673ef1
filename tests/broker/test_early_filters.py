"""`broker/early_filters.py`: it leaves out what the filter would turn away, and nothing else."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.early_filters import EarlyFilters, Selection
from broker.role import Context
from broker.triggers import Triggers
from eventing.delivery import Recipient, Subscription
from eventing.event_journal import EventJournal
from eventing.features import Features
from eventing.message import Message
from kube.client import Client
from kube.config import ApiConfig
from kube.models.eventing import Trigger, TriggerSpec, TriggerStatus
from kube.models.meta import ObjectMeta
from proxies.logs import Logger

EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a", "knativebrokerttl": "9"}


class Channel:
    """One with a subscription for each Trigger."""

    def __init__(self) -> None:
        self.context = cast(Context, type("Made", (), {"features": Features()})())
        self.triggers = Triggers(Client(ApiConfig(server="http://unused")), Logger("test", write=lambda line: None))
        self.early = EarlyFilters(self.context, self.triggers)
        self.subscriptions: list[Subscription] = []

    def trigger(self, name: str, *, uid: str = "u", url: str | None = "http://sink", **spec: Any) -> None:
        self.change(name, url, **spec)
        self.subscribe(name, f"http://filter/triggers/ns/{name}/{uid}")

    def change(self, name: str, url: str | None = "http://sink", **spec: Any) -> None:
        trigger = Trigger(
            metadata=ObjectMeta(name=name, namespace="ns", uid="u"),
            spec=TriggerSpec(broker="b", **spec),
            status=TriggerStatus(subscriber_uri=url),
        )
        self.triggers.informer._put(trigger)

    def subscribe(self, name: str, url: str, *, is_filter: bool = True) -> None:
        destination = Recipient.of(url, None, None)
        self.subscriptions.append(Subscription(uid=name, destination=destination, unwraps_errors=is_filter))

    def wanted(self, **attributes: Any) -> set[str]:
        found = Selection(self.early).wanted(self.subscriptions, message(**attributes))
        assert len(found) == len({each.uid for each in found})
        return {each.uid for each in found}


def message(**attributes: Any) -> Message:
    return Message({**EVENT, **attributes}, {}, b"", [])


def test_what_no_filter_wants_is_left_out() -> None:
    channel = Channel()
    channel.trigger("all")
    channel.trigger("a", filters=[{"exact": {"type": "a"}}])
    channel.trigger("b", filters=[{"exact": {"type": "b"}}])
    channel.trigger("old", filter={"attributes": {"type": "b"}})
    channel.trigger("some", filters=[{"prefix": {"source": "/s"}}])
    channel.trigger("passages", filters=[{"cesql": "EXISTS knativebrokerttl"}])
    channel.trigger("number", filters=[{"exact": {"type": "a", "n": "5"}}])
    assert channel.wanted() == {"all", "a", "some"}
    assert channel.wanted(type="b", source="/x") == {"all", "b", "old"}
    assert channel.wanted(n=5) == {"all", "a", "some", "number"}


def test_what_is_in_doubt_is_sent() -> None:
    channel = Channel()
    never = [{"exact": {"type": "z"}}]
    channel.trigger("another uid", uid="other", filters=never)
    channel.trigger("nobody", url=None, filters=never)
    channel.subscribe("unknown", "http://filter/triggers/ns/unknown/u")
    channel.subscribe("no trigger", "http://filter/elsewhere")
    channel.subscribe("another host", "http://filter/triggers/ns/known/u", is_filter=False)
    channel.trigger("known", filters=never)
    everybody = {each.uid for each in channel.subscriptions}
    assert channel.wanted() == everybody - {"known"}
    # The filter says 400 to it.
    assert channel.wanted(knativebrokerttl="many") == everybody
    channel.context.features = Features(is_oidc_on=True)
    assert channel.wanted() == everybody


def test_who_does_not_want_an_event_is_noted() -> None:
    channel = Channel()
    channel.trigger("all")
    for number in range(25):
        channel.trigger(f"t-{number}", filters=[{"exact": {"type": "z"}}])
    channel.early.journal = journal = EventJournal("test")
    assert channel.wanted() == {"all"}
    notes = journal.answer({})["events"]
    assert {note["step"] for note in notes} == {"filtered"}
    assert [note["trigger"] for note in notes] == [*(f"Trigger ns/t-{number}" for number in range(20)), "5 more"]


def test_a_changed_trigger_counts_at_once() -> None:
    channel = Channel()
    channel.trigger("t", filters=[{"exact": {"type": "z"}}])
    selection = Selection(channel.early)
    assert selection.wanted(channel.subscriptions, message()) == []
    channel.change("t", filters=[{"exact": {"type": "a"}}])
    assert [each.uid for each in selection.wanted(channel.subscriptions, message())] == ["t"]


@pytest.mark.parametrize(
    "spec",
    [
        {"filters": [{"exact": {"type": ""}}]},
        {"filters": [{"exact": {"type": "z", "foo": ""}}]},
        {"filters": [{"not": {"exact": {"type": "z"}}}]},
        {"filters": [{"any": [{"exact": {"type": "z"}}, {"exact": {"type": "a"}}]}]},
        {"filters": [{}], "filter": {"attributes": {"type": "z"}}},
        {"filter": {"attributes": {"type": ""}}},
        {"filter": {}},
        {"filter": {"attributes": None}},
    ],
)
def test_types_that_are_not_demanded(spec: dict[str, Any]) -> None:
    channel = Channel()
    channel.trigger("t", **spec)
    assert channel.wanted() == {"t"}


WORDS = st.sampled_from(["a", "b", ""])
MAPS = st.dictionaries(st.sampled_from(["type", "foo"]), WORDS, max_size=2)
LEAVES = st.one_of(
    *(MAPS.map(lambda entries, dialect=dialect: {dialect: entries}) for dialect in ("exact", "prefix", "suffix")),
    st.just({}),
)
FILTERS = st.recursive(
    LEAVES,
    lambda each: st.one_of(
        each.map(lambda inner: {"not": inner}),
        st.lists(each, max_size=2).map(lambda inner: {"all": inner}),
        st.lists(each, max_size=2).map(lambda inner: {"any": inner}),
    ),
    max_leaves=4,
)


@given(st.lists(FILTERS, max_size=3), st.one_of(st.none(), MAPS), WORDS.filter(bool), st.one_of(st.none(), WORDS))
def test_it_says_what_the_filter_says(
    filters: list[dict[str, Any]], legacy: dict[str, str] | None, kind: str, foo: str | None
) -> None:
    channel = Channel()
    channel.trigger("t", filters=filters, filter=None if legacy is None else {"attributes": legacy})
    attributes = {"type": kind} if foo is None else {"type": kind, "foo": foo}
    matches = channel.triggers.subscribers["ns", "t"].matches
    assert bool(channel.wanted(**attributes)) is (matches is None or matches({**EVENT, **attributes}))
