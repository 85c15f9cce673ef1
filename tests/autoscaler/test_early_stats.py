"""`autoscaler.early_stats`: nothing is lost that may still matter, and nothing grows."""

from autoscaler.early_stats import EarlyStats
from proxies.wire.stat import Stat

KEY = ("default", "hello-00001")


def test_stats_are_handed_out_once_and_in_order() -> None:
    early = EarlyStats()
    early.keep(KEY, Stat("one"), 100.0)
    early.keep(("default", "other"), Stat("other"), 100.5)
    early.keep(KEY, Stat("two"), 101.0)
    assert [(stat.pod_name, arrived_s) for stat, arrived_s in early.take(KEY, 102.0)] == [
        ("one", 100.0),
        ("two", 101.0),
    ]
    assert early.take(KEY, 102.0) == []
    assert len(early) == 1


def test_what_is_a_minute_old_is_not_handed_out() -> None:
    early = EarlyStats()
    early.keep(KEY, Stat("old"), 100.0)
    early.keep(KEY, Stat("recent"), 101.0)
    assert [stat.pod_name for stat, _ in early.take(KEY, 161.0)] == ["recent"]


def test_revisions_that_never_come_make_room_for_others() -> None:
    early = EarlyStats()
    for number in range(50_000):
        early.keep(("default", f"gone-{number}"), Stat("activator"), 100.0)
        assert len(early) <= 2000
    for _ in range(50_000):
        early.keep(KEY, Stat("activator"), 100.0)
        assert len(early) <= 2000
    assert early.take(("default", "gone-0"), 100.0) == []
    assert early.take(KEY, 100.0)
