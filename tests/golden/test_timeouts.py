"""Replays `timeouts`: which timer ends a response, when, and what the client has got by then.

The recorded handler runs on after a timer; its later writes fail and are counted.
"""

from typing import Any

from proxies.timeouts import TimeoutLimits, Timeouts
from tests.golden.replay import Golden


def test_timeouts(golden: Golden) -> None:
    with golden("timeouts") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    limits = TimeoutLimits(
        max_duration_s=case["timeout_ms"],
        response_start_s=case["response_start_timeout_ms"],
        idle_s=case["idle_timeout_ms"],
    )
    timeouts = Timeouts(limits, 0)
    timeouts.hand_over(0)
    now_ms, status, body, ended_ms, late_writes = 0, 0, "", -1, 0
    for op, argument in case["script"]:
        if op == "sleep":
            now_ms += argument
            if ended_ms < 0 and timeouts.due_s <= now_ms:
                ended_ms = int(timeouts.due_s)
                assert timeouts.fired(ended_ms) is not None
                assert timeouts.fired(ended_ms - 1) is None
                status, body = status or 504, body + limits.text.decode()
        elif ended_ms >= 0:
            late_writes += op == "write"
        else:
            timeouts.wrote(now_ms)
            status = status or (argument if op == "status" else 200)
            body += argument if op == "write" else ""
    got = {
        "status": status or 200,
        "body": body,
        "ended_after_ms": ended_ms if ended_ms >= 0 else now_ms,
        "late_write_errors": late_writes,
    }
    assert got == case["expect"]
