"""Statements 46 to 50: when a revision is decided, and who is told."""

import pytest

from autoscaler.multiscaler import PHASE_S, MultiScaler, Outcome, Revision
from autoscaler.settings import RevisionSettings, resolve
from kube.autoscaling.config import AutoscalerConfig
from proxies.wire.stat import Stat

T0 = 1_785_542_400.0
KEY = ("default", "hello-00001")


def settings(config: dict[str, str] | None = None, **annotations: str) -> RevisionSettings:
    return resolve(
        {f"autoscaling.knative.dev/{key.replace('_', '-')}": text for key, text in annotations.items()},
        container_concurrency=0,
        reachability="Reachable",
        metrics_service="hello-00001-private",
        config=AutoscalerConfig.from_data(config or {}),
    )


class Clocked:
    """One revision under a stepped clock, as strict as the original where a start is concerned."""

    def __init__(self, config: dict[str, str] | None = None, **annotations: str) -> None:
        self.ready = 1
        self.now_s = T0
        self._phase = 0
        self.scalers = MultiScaler(lambda key: self.ready, is_strict=True)
        wanted = settings(config, **annotations)
        self.revision: Revision = self.scalers.put(KEY, wanted.decider, wanted.metric, T0, 0)

    def stat(self, concurrency: float, *, count: float = 1) -> Outcome | None:
        stat = Stat("activator", average_concurrent_requests=concurrency, request_count=count)
        return self.scalers.record(KEY, stat, self.now_s)

    def run(self, seconds: float) -> list[tuple[float, Outcome]]:
        """(seconds since the start, outcome) of each decision."""
        outcomes = []
        for _ in range(round(seconds / PHASE_S)):
            self._phase += 1
            self.now_s = T0 + self._phase * PHASE_S
            outcomes += [(self.now_s - T0, outcome) for outcome in self.scalers.decide_phase(self._phase, self.now_s)]
        return outcomes


def test_46_a_new_decider_wants_minus_one() -> None:
    assert Clocked().revision.desired == -1


@pytest.mark.parametrize(
    ("initial", "target", "burst", "excess"),
    [("2", "25", "42", 8), ("1", "100", "211", -111), ("2", "25", "-1", -1), ("2", "25", "0", 0), ("1", "1", "1.5", 0)],
)
def test_47_the_first_excess_burst_capacity_assumes_the_initial_scale(
    initial: str, target: str, burst: str, excess: int
) -> None:
    """The last case: -0.5 is cut towards zero."""
    world = Clocked(initial_scale=initial, target=target, target_burst_capacity=burst)
    assert world.revision.excess_burst_capacity == excess


def test_48_the_owner_is_told_of_a_new_scale_or_a_new_sign_and_of_nothing_else() -> None:
    world = Clocked(
        target="10", target_utilization_percentage="100", target_burst_capacity="10", panic_window_percentage="100"
    )

    def told(concurrency: float, ready: int = 1) -> bool:
        world.ready = ready
        world.stat(concurrency)
        ((_, outcome),) = world.run(2)
        return outcome.is_worth_telling

    assert told(5)  # the first scale
    assert not told(5)  # the same again
    assert told(5, ready=2)  # room, where there was none
    assert not told(5, ready=2)  # other room, but room
    assert told(5, ready=1)  # and none again


def test_49_a_request_for_a_revision_at_zero_is_decided_at_once() -> None:
    world = Clocked()
    assert world.stat(1) is None, "it is not known to be at zero before the first decision"
    world = Clocked()
    world.ready = 0
    world.stat(0)
    world.run(2)
    assert world.revision.desired == 0
    assert world.stat(0) is None, "no concurrency"
    poked = world.stat(0.5)
    assert poked is not None
    assert poked.is_worth_telling
    assert (world.revision.desired, world.revision.poked_s) == (1, world.now_s)
    assert world.stat(500) is None, "it is not at zero any more"


@pytest.mark.parametrize("config", [{}, {"tick-interval": "10s"}, {"stable-window": "6s"}])
def test_50_decisions_are_two_seconds_apart(config: dict[str, str]) -> None:
    world = Clocked(config)
    decided = []
    for _ in range(110):
        world.stat(1)
        decided += [round(at_s, 3) for at_s, _ in world.run(0.1)]
    assert decided == [2.0, 4.0, 6.0, 8.0, 10.0]
