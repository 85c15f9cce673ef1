"""`autoscaler.failures`: loud once, then counted."""

import json

from autoscaler.failures import Failures
from proxies.logs import Logger


def test_the_first_failure_is_a_line_and_those_of_a_minute_are_one_more() -> None:
    lines: list[bytes] = []
    now_s = 1000.0
    failures = Failures("decision_failed", clock=lambda: now_s, log=Logger("test", write=lines.append))
    for number in range(500):
        failures.note(("default", f"hello-{number:05}"), ValueError("cannot decide"))
        now_s += 0.1
    (line,) = map(json.loads, lines)
    assert (line["message"], line["namespace"], line["revision"]) == ("decision_failed", "default", "hello-00000")
    assert "cannot decide" in line["error"]
    now_s += 20
    failures.note(("default", "other"), ValueError("still not"))
    assert len(lines) == 2
    assert json.loads(lines[1])["others_untold"] == 499
