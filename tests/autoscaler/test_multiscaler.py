"""`autoscaler.multiscaler`: when revisions are decided, and who is told."""

from dataclasses import replace

import pytest

from autoscaler.multiscaler import PHASE_S, PHASES, MultiScaler, Outcome, RevisionKey
from autoscaler.settings import RevisionSettings, resolve
from kube.autoscaling.config import AutoscalerConfig
from proxies.wire.stat import Stat

T0 = 1_785_542_400.0
KEY: RevisionKey = ("default", "hello-00001")


def settings(**annotations: str) -> RevisionSettings:
    return resolve(
        {f"autoscaling.knative.dev/{key.replace('_', '-')}": text for key, text in annotations.items()},
        container_concurrency=0,
        reachability="Reachable",
        metrics_service="hello-00001-private",
        config=AutoscalerConfig(),
    )


class Cluster:
    """A MultiScaler under a stepped clock, with ready pods that a test sets."""

    def __init__(self) -> None:
        self.ready: dict[RevisionKey, int] = {}
        self.scalers = MultiScaler(lambda key: self.ready.get(key, 0))
        self.now_s = T0
        self.phase = 0

    def put(self, key: RevisionKey = KEY, **annotations: str) -> None:
        wanted = settings(**annotations)
        self.scalers.put(key, wanted.decider, wanted.metric, self.now_s, self.phase)

    def stat(self, concurrency: float, key: RevisionKey = KEY) -> Outcome | None:
        stat = Stat("activator", average_concurrent_requests=concurrency, request_count=concurrency)
        return self.scalers.record(key, stat, self.now_s)

    def run(self, seconds: float) -> list[tuple[float, Outcome]]:
        outcomes = []
        for _ in range(round(seconds / PHASE_S)):
            self.phase += 1
            self.now_s = T0 + self.phase * PHASE_S
            outcomes += [(self.now_s - T0, outcome) for outcome in self.scalers.decide_phase(self.phase, self.now_s)]
        return outcomes

    def desired(self, key: RevisionKey = KEY) -> int:
        revision = self.scalers.get(key)
        assert revision is not None
        return revision.desired

    def at_zero(self) -> "Cluster":
        """A revision that was decided to be at zero."""
        self.put()
        self.stat(0)
        self.run(2)
        assert self.desired() == 0
        return self


def test_with_unlimited_burst_capacity_silence_is_no_load() -> None:
    cluster = Cluster()
    cluster.put(target_burst_capacity="-1")
    cluster.run(2)
    assert cluster.desired() == 0


@pytest.mark.parametrize("burst", ["-1", "200"])
@pytest.mark.parametrize(("is_strict", "kept_s"), [(False, 60), (True, 0)])
def test_a_single_pod_that_is_found_stays_until_a_stable_window_was_watched(
    burst: str, is_strict: bool, kept_s: float
) -> None:
    cluster = Cluster()
    cluster.scalers = MultiScaler(lambda key: 1, is_strict=is_strict)
    cluster.put(target_burst_capacity=burst)
    decided = []
    for _ in range(35):
        cluster.stat(0)
        decided += cluster.run(2)
    assert {outcome.decision.desired for at_s, outcome in decided if at_s < kept_s} <= {1}
    assert {outcome.decision.desired for at_s, outcome in decided if at_s >= kept_s} == {0}
    assert all(outcome.decision.is_held == (at_s < kept_s) for at_s, outcome in decided)
    assert not any(outcome.decision.panicking for _, outcome in decided)


def test_an_unreachable_revision_keeps_no_pod_that_was_found() -> None:
    cluster = Cluster()
    cluster.ready[KEY] = 1
    wanted = settings()
    cluster.scalers.put(KEY, replace(wanted.decider, reachable=False), wanted.metric, T0, 0)
    cluster.stat(0)
    cluster.run(2)
    assert cluster.desired() == 0


@pytest.mark.parametrize(("ready", "is_strict", "decides"), [(0, False, True), (1, False, False), (0, True, False)])
def test_a_request_for_a_revision_without_pods_does_not_wait_though_nothing_was_ever_decided(
    ready: int, is_strict: bool, decides: bool
) -> None:
    cluster = Cluster()
    cluster.scalers = MultiScaler(lambda key: ready, is_strict=is_strict)
    cluster.put()
    cluster.run(20)
    assert cluster.desired() == -1
    assert (cluster.stat(1) is not None) == decides


def test_a_revision_above_zero_waits_for_its_turn() -> None:
    cluster = Cluster().at_zero()
    cluster.stat(1)
    assert cluster.stat(500) is None


def test_stats_of_unknown_revisions_are_dropped() -> None:
    assert Cluster().stat(5, ("default", "nobody")) is None


def test_the_first_decision_comes_two_seconds_after_the_revision() -> None:
    cluster = Cluster()
    cluster.run(0.6)
    cluster.put()
    decided = []
    for _ in range(100):
        cluster.stat(1)
        decided += [round(at_s, 3) for at_s, _ in cluster.run(0.1)]
    assert decided == [2.6, 4.6, 6.6, 8.6, 10.6]


def test_ten_thousand_revisions_at_once_are_spread_over_the_tick() -> None:
    cluster = Cluster()
    keys = [("default", f"rev-{number}") for number in range(10_000)]
    for key in keys:
        cluster.put(key)
        cluster.stat(1, key)
    assert cluster.run(1.8) == []
    cluster.run(2)
    per_phase: list[int] = []
    decided: list[RevisionKey] = []
    for _ in range(PHASES):
        outcomes = cluster.run(PHASE_S)
        per_phase.append(len(outcomes))
        decided += [outcome.revision.key for _, outcome in outcomes]
    assert sorted(decided) == sorted(keys)
    assert max(per_phase) < 10_000 / PHASES * 1.5


def test_a_stat_from_the_future_counts_as_of_now() -> None:
    cluster = Cluster().at_zero()
    early = Stat("activator", average_concurrent_requests=1000, timestamp=int(T0) + 3600)
    assert cluster.scalers.record(KEY, early, cluster.now_s) is not None
    cluster.run(70)
    cluster.stat(1)
    cluster.run(2)
    assert cluster.desired() == 1


@pytest.mark.parametrize("behind_s", [1, 61, 3600])
def test_a_stat_forwarded_by_a_replica_whose_clock_is_behind_counts(behind_s: int) -> None:
    cluster = Cluster()
    cluster.put(target_burst_capacity="-1")
    for _ in range(10):
        stat = Stat("activator", average_concurrent_requests=300, timestamp=int(cluster.now_s) - behind_s)
        cluster.scalers.record(KEY, stat, cluster.now_s)
        cluster.run(1)
    assert cluster.desired() == 5


def test_a_changed_setting_keeps_the_state() -> None:
    cluster = Cluster().at_zero()
    cluster.put(target="1")
    assert cluster.desired() == 0
    # Nine within three seconds are three on average, where one pod aims at 0.7.
    cluster.stat(9)
    assert cluster.desired() == 5


def test_a_deleted_revision_is_gone() -> None:
    cluster = Cluster().at_zero()
    cluster.scalers.delete(KEY)
    cluster.scalers.delete(KEY)
    assert cluster.scalers.get(KEY) is None
    assert cluster.stat(1) is None
    assert cluster.run(4) == []


def test_panic_is_reported_when_it_begins_and_ends() -> None:
    cluster = Cluster()
    cluster.ready[KEY] = 1
    cluster.put(target="1")
    changes = []
    for second in range(90):
        cluster.stat(10 if second < 4 else 0.5)
        changes += [outcome.panic_became for _, outcome in cluster.run(1)]
    assert [change for change in changes if change is not None] == [True, False]


def test_the_specs_of_two_revisions_do_not_mix() -> None:
    cluster = Cluster()
    other = ("default", "other")
    cluster.put()
    cluster.put(other, target="1")
    first, second = cluster.scalers.get(KEY), cluster.scalers.get(other)
    assert first is not None
    assert second is not None
    assert replace(first.decider.spec, target_value=0.7, total_value=1.0) == second.decider.spec


def test_a_revision_that_cannot_be_decided_does_not_keep_the_others_from_it() -> None:
    cluster = Cluster()
    failed: list[tuple[RevisionKey, str]] = []
    names = ("first", "broken", "last")

    def ready_pods(key: RevisionKey) -> int:
        if is_broken and key[1] == "broken":
            raise ValueError("cannot count")
        return 0

    is_broken = False
    cluster.scalers = MultiScaler(ready_pods, on_failure=lambda key, error: failed.append((key, str(error))))
    for name in names:
        cluster.put(("default", name))
        cluster.stat(0, ("default", name))
    cluster.run(2)
    is_broken = True
    for name in names:
        # A poke decides at once, a stat for what runs in its phase.
        outcome = cluster.stat(100, ("default", name))
        assert (outcome is None) == (name == "broken")
    cluster.run(2)
    assert [cluster.desired(("default", name)) for name in names] == [1, 0, 1]
    assert failed == [(("default", "broken"), "cannot count")] * 2


def test_without_anybody_to_tell_a_failure_is_raised() -> None:
    cluster = Cluster()
    ready = iter([1])
    cluster.scalers = MultiScaler(lambda key: next(ready))
    cluster.put()
    cluster.stat(0)
    with pytest.raises(StopIteration):
        cluster.run(2)


@pytest.mark.parametrize(("is_strict", "expected"), [(False, 5), (True, -1)])
def test_what_is_heard_of_a_revision_before_its_first_reconcile_counts(is_strict: bool, expected: int) -> None:
    cluster = Cluster()
    cluster.scalers = MultiScaler(lambda key: 0, is_strict=is_strict)
    assert cluster.stat(350) is None
    cluster.put()
    cluster.run(2)
    assert cluster.desired() == expected
