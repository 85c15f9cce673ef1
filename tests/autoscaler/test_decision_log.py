"""`autoscaler.decision_log`: what is kept of decisions, and the words for them."""

import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.collector import MetricSpec
from autoscaler.decider import TICK_S, Decider, DeciderSpec, Decision
from autoscaler.decision_log import KEPT, DecisionLog

METRIC = MetricSpec(stable_window_s=60.0, panic_window_s=6.0, scrape_target="rev-private")
SPEC = DeciderSpec(
    scaling_metric="concurrency",
    target_value=10.0,
    total_value=100.0,
    target_burst_capacity=211.0,
    activator_capacity=100.0,
    panic_threshold=2.0,
    stable_window_s=60.0,
    scale_down_delay_s=0.0,
    max_scale_up_rate=10.0,
    max_scale_down_rate=2.0,
    initial_scale=1,
    reachable=True,
    activation_scale=0,
)


class Decided:
    """A decider and its log; every decision is two seconds after the one before."""

    def __init__(self, *, created_ready: int = 0, **spec: Any) -> None:
        self.log = DecisionLog()
        self.now_s = 1_000_000.0
        self.decider = Decider(replace(SPEC, **spec), now_s=self.now_s, ready_pods=created_ready)

    def decide(
        self, ready: int, stable: float, panic: float | None = None, *, coverage: float = 1.0, poked: bool = False
    ) -> Decision:
        self.now_s += TICK_S
        decision = self.decider.decide(self.now_s, ready, stable, stable if panic is None else panic, coverage)
        self.log.record(self.now_s, ready, self.decider.spec, METRIC, decision, poked=poked)
        return decision

    def why(self) -> str:
        text = self.log.rendered()["decisions"][0]["why"]
        assert isinstance(text, str)
        return text


def test_a_decision_is_kept_with_everything_that_it_rests_on() -> None:
    decided = Decided()
    decision = decided.decide(4, 25.5, 84.25, coverage=0.75, poked=True)
    (entry,) = decided.log.entries()
    assert entry.at_s == decided.now_s
    assert (entry.ready, entry.stable, entry.panic, entry.coverage) == (4, 25.5, 84.25, 0.75)
    assert (entry.desired, entry.excess_burst_capacity) == (decision.desired, decision.excess_burst_capacity)
    assert (entry.panicking, entry.held, entry.poked) == (True, False, True)
    assert (entry.decider, entry.metric) == (SPEC, METRIC)


def test_only_the_last_sixty_are_kept_in_order() -> None:
    decided = Decided()
    for load in range(KEPT + 25):
        decided.decide(10, float(load))
    entries = decided.log.entries()
    assert [entry.stable for entry in entries] == [float(load) for load in range(25, KEPT + 25)]
    assert len(decided.log) == KEPT


def test_each_decision_keeps_the_settings_that_were_in_force() -> None:
    decided = Decided()
    for number in range(3 * KEPT):
        if number % 7 == 0:
            decided.decider.spec = replace(SPEC, target_value=float(number + 1))
        elif number % 7 == 3:
            decided.decider.spec = replace(decided.decider.spec)  # the same, said again by a reconcile
        decided.decide(1, 5.0)
    targets = [entry.decider.target_value for entry in decided.log.entries()]
    assert targets == [float(number - number % 7 + 1) for number in range(2 * KEPT, 3 * KEPT)]
    rendered = decided.log.rendered()
    assert len(rendered["settings"]) == len(set(targets))
    newest = rendered["decisions"][0]
    assert rendered["settings"][newest["settings"]]["target_value"] == targets[-1]


def test_settings_that_change_at_each_decision_do_not_pile_up() -> None:
    decided = Decided()
    for number in range(5 * KEPT):
        decided.decider.spec = replace(SPEC, target_value=float(number + 1))
        decided.decide(1, 5.0)
    assert len(decided.log.rendered()["settings"]) == KEPT
    assert len(decided.log._settings) == KEPT


def test_what_is_rendered_is_json_with_the_newest_first() -> None:
    decided = Decided()
    decided.decide(1, 5.0)
    decided.decide(1, 15.0)
    rendered = json.loads(json.dumps(decided.log.rendered()))
    newest, oldest = rendered["decisions"]
    assert (newest["stable"], oldest["stable"]) == (15.0, 5.0)
    assert newest["at"] == "1970-01-12T13:46:44.000000Z"
    assert rendered["settings"][0]["stable_window_s"] == 60.0
    assert rendered["settings"][0]["panic_window_s"] == 6.0
    assert rendered["load_unknown_since"] is None


def test_a_load_that_is_unknown_is_told_until_the_next_decision() -> None:
    decided = Decided()
    decided.log.note_unknown(1_000_000.0)
    decided.log.note_unknown(1_000_002.0)
    assert decided.log.rendered()["load_unknown_since"] == "1970-01-12T13:46:40.000000Z"
    assert decided.log.rendered()["decisions"] == []
    decided.decide(1, 5.0)
    assert decided.log.rendered()["load_unknown_since"] is None


def test_only_a_change_of_the_scale_is_a_change() -> None:
    decided = Decided()
    assert decided.log.latest_change() is None
    decided.decide(1, 5.0)
    change = decided.log.latest_change()
    assert change is not None
    assert (change.before, change.entry.desired) == (-1, 1)
    decided.decide(1, 6.0)
    assert decided.log.latest_change() is None
    decided.decide(1, 11.0)
    change = decided.log.latest_change()
    assert change is not None
    assert (change.before, change.entry.desired, change.why) == (1, 2, decided.why())


class TestWords:
    """Each rule that can have the last word."""

    def test_the_load_alone(self) -> None:
        decided = Decided()
        decided.decide(4, 25.5)
        assert decided.why() == "60 s average 25.5 at target 10 takes 3 pods"
        decided.decide(1, 0.04)
        assert decided.why() == "60 s average 0.04 at target 10 takes 1 pod"

    def test_no_load(self) -> None:
        decided = Decided()
        decided.decide(1, 0.0)
        assert decided.why() == "no load in 60 s"

    def test_panic_from_the_load(self) -> None:
        decided = Decided()
        decided.decide(2, 20.0, 84.2)
        assert decided.why() == "panic: 6 s average 84.2 over 2.0x capacity 20"

    def test_panic_from_whole_pods(self) -> None:
        """Eleven is not twice ten, but takes twice the one pod."""
        decided = Decided()
        decided.decide(1, 11.0)
        assert decided.why() == "panic: 6 s average 11 at target 10 takes 2 pods"

    def test_panic_that_is_limited(self) -> None:
        decided = Decided()
        decided.decide(1, 500.0)
        assert decided.why() == "panic: 6 s average 500 over 2.0x capacity 10; max-scale-up-rate 10 allows 10"

    def test_panic_that_keeps_what_it_had(self) -> None:
        decided = Decided()
        decided.decide(2, 20.0, 84.0)
        decided.decide(9, 20.0, 30.0)
        assert decided.why() == "panic: keeps the 9 pods that were asked for since it began"

    def test_panic_in_which_the_long_window_wants_more(self) -> None:
        decided = Decided(created_ready=2)
        decided.decide(4, 50.0, 30.0)
        assert decided.why() == "panic: 60 s average 50 at target 10 takes 5 pods"

    def test_the_end_of_a_panic(self) -> None:
        decided = Decided(created_ready=4)
        while decided.decide(4, 30.0, 20.0).panicking:
            assert decided.now_s < 1_000_100
        assert decided.why() == "panic ended: 60 s average 30 at target 10 takes 3 pods"
        decided.decide(4, 30.0, 20.0)
        assert decided.why() == "60 s average 30 at target 10 takes 3 pods"

    def test_the_rate_of_growth(self) -> None:
        decided = Decided(panic_threshold=1000.0)
        decided.decide(1, 500.0)
        assert decided.why() == "60 s average 500 at target 10 takes 50 pods; max-scale-up-rate 10 allows 10"

    def test_the_rate_of_shrinking(self) -> None:
        decided = Decided()
        decided.decide(10, 0.0)
        assert decided.why() == "no load in 60 s; max-scale-down-rate 2 keeps 5"

    def test_the_activation_scale(self) -> None:
        decided = Decided(activation_scale=5, panic_threshold=1000.0)
        decided.decide(0, 1.0)
        assert decided.why() == "60 s average 1 at target 10 takes 1 pod; activation-scale makes it 5"

    def test_the_scale_down_delay(self) -> None:
        decided = Decided(scale_down_delay_s=300.0)
        decided.decide(4, 35.0)
        decided.decide(4, 11.0)
        assert decided.why() == "scale-down delay: 4 pods were wanted in the last 300 s"

    def test_too_little_was_seen(self) -> None:
        decided = Decided()
        decided.decide(4, 35.0)
        decided.decide(4, 11.0, coverage=0.3)
        assert decided.why() == "held: only 30% of the load was seen, to shrink takes 50%"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50), st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from([1.0, 0.9, 0.2]), st.booleans()
        ),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([{}, {"reachable": False}, {"activation_scale": 7}, {"scale_down_delay_s": 20.0}]),
)
def test_whatever_was_decided_can_be_told(
    decisions: list[tuple[int, float, float, float, bool]], spec: dict[str, Any]
) -> None:
    decided = Decided(**spec)
    made = [decided.decide(r, s, p, coverage=c, poked=poked) for r, s, p, c, poked in decisions]
    for entry, decision in zip(decided.log.entries(), made, strict=True):
        assert entry.desired == decision.desired
        assert entry.stable == decision.stable
        assert entry.coverage == struct.unpack("f", struct.pack("f", decision.coverage))[0]
        assert (entry.panicking, entry.held) == (decision.panicking, decision.is_held)
    for told in decided.log.rendered()["decisions"]:
        # Where the words name what the load takes and no rule, that is what is desired.
        if "takes" in told["why"] and ";" not in told["why"] and "held" not in told["why"]:
            assert f"takes {told['desired']} pod" in told["why"]


@pytest.mark.parametrize("load", [float("inf"), 1e300])
def test_absurd_loads_do_not_break_the_log(load: float) -> None:
    decided = Decided()
    decided.decide(1, load)
    assert decided.why().startswith("panic")
