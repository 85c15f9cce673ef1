"""`autoscaler.outcome_log`: lines about decisions, which must not cost anybody a decision."""

import json
from typing import Any
from unittest import mock

import pytest

from autoscaler.failures import Failures
from autoscaler.multiscaler import MultiScaler, Outcome
from autoscaler.outcome_log import OutcomeLog
from autoscaler.settings import resolve
from kube.autoscaling.config import AutoscalerConfig
from proxies.logs import Logger
from proxies.wire.stat import Stat

T0 = 1_785_542_400.0
KEY = ("default", "hello-00001")


class Told:
    """The lines about one revision whose load a test sets."""

    def __init__(self) -> None:
        written: list[bytes] = []
        log = Logger("test", write=written.append)
        self._written = written
        self._log = OutcomeLog(log, Failures("decision_failed", clock=lambda: T0, log=log))
        self._now_s = T0
        self._scalers = MultiScaler(lambda key: 1)
        settings = resolve(
            {}, container_concurrency=0, reachability="", metrics_service="private", config=AutoscalerConfig()
        )
        self._revision = self._scalers.put(KEY, settings.decider, settings.metric, T0, 0)

    def decide(self, concurrency: float) -> Outcome:
        """Decide with that load, two seconds later, and tell."""
        self._now_s += 2
        self._scalers.record(KEY, Stat("activator", concurrency), self._now_s)
        outcome = self._scalers.decide(self._revision, self._now_s)
        assert outcome is not None
        self._log.tell(outcome)
        return outcome

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._written]


def test_panic_and_change_are_a_line_each_and_no_change_is_none() -> None:
    told = Told()
    told.decide(1)
    told.decide(1)
    assert told.lines == [], "one pod is ready, and one is wanted"
    told.decide(1000)
    began, changed = told.lines
    assert (began["message"], began["namespace"], began["revision"]) == ("panic_began", *KEY)
    assert (changed["message"], changed["from"]) == ("desired_changed", 1)
    assert changed["to"] > 1
    assert changed["why"].startswith("panic: 6 s average ")


@pytest.mark.parametrize("broken", ["latest_change", "_tell_panic"])
def test_a_line_that_cannot_be_made_is_a_failure_of_ours_alone(broken: str) -> None:
    told = Told()
    told.decide(1)
    place = "autoscaler.outcome_log.OutcomeLog" if broken == "_tell_panic" else "autoscaler.decision_log.DecisionLog"
    with mock.patch(f"{place}.{broken}", side_effect=ValueError("a bug")):
        assert told.decide(1000).is_worth_telling
    assert told.lines[-1]["message"] == "decision_failed"
