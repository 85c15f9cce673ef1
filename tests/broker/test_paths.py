"""`broker/paths.py`: the tables of the spec (5.2, 6.1)."""

import pytest

from broker.paths import Leg, TriggerPath, broker_of, trigger_of


@pytest.mark.parametrize(
    ("target", "broker"),
    [
        (b"/ns/name", ("ns", "name")),
        (b"/ns/name/", ("ns", "name")),
        (b"/ns/name//", None),
        (b"/", None),
        (b"/?x", None),
        (b"/ns", None),
        (b"/a/b/c", None),
        (b"/ns/name?x=y", ("ns", "name?x=y")),
        (b"/ns/na%6De", ("ns", "na%6De")),
        (b"http://host/ns/name", None),
        (b"//", None),
        (b"*", None),
        (b"/ns/\xff", ("ns", "\xff")),
    ],
)
def test_5_to_10_brokers(target: bytes, broker: tuple[str, str] | None) -> None:
    assert broker_of(target) == broker


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/triggers/ns/name/uid", TriggerPath("ns", "name", "uid", Leg.SUBSCRIBER)),
        (b"/triggers/ns/name/uid/reply", TriggerPath("ns", "name", "uid", Leg.REPLY)),
        (b"/triggers/ns/name/uid/dls", TriggerPath("ns", "name", "uid", Leg.DEAD_LETTER)),
        (b"/triggers/ns/name/uid/", TriggerPath("ns", "name", "uid", Leg.SUBSCRIBER)),
        (b"/triggers/ns/name/uid/dls?x", TriggerPath("ns", "name", "uid", Leg.SUBSCRIBER)),
        (b"/triggers/ns/name/uid?x", TriggerPath("ns", "name", "uid?x", Leg.SUBSCRIBER)),
        (b"/triggers/ns/name", None),
        (b"/foo/ns/name/uid", None),
        (b"/triggers/ns/name/uid/reply/", None),
        (b"x/triggers/ns/name", None),
    ],
)
def test_48_triggers(target: bytes, path: TriggerPath | None) -> None:
    assert trigger_of(target) == path
