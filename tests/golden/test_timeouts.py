"""Replays `timeouts`: which timer ends a response, when, and what the client has got by then.

The recorded handler runs on after a timer; its later writes fail and are counted.
"""

from typing import Any

from proxies.timeouts import TimeoutLimits
from tests.golden.replay import Golden

BEGIN = 1_000_000
"""Of the clock; 0 means never."""


def test_timeouts(golden: Golden) -> None:
    with golden("timeouts") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    limits = TimeoutLimits(
        max_duration_s=case["timeout_ms"],
        response_start_s=case["response_start_timeout_ms"],
        idle_s=case["idle_timeout_ms"],
    )
    now_ms, status, body, ended_ms, late_writes = 0, 0, "", -1, 0
    wrote = 0
    for op, argument in case["script"]:
        if op == "sleep":
            now_ms += argument
            due_s, _ = limits.next(BEGIN, BEGIN, wrote)
            if ended_ms < 0 and due_s <= BEGIN + now_ms:
                ended_ms = int(due_s - BEGIN)
                status, body = status or 504, body + limits.text.decode()
        elif ended_ms >= 0:
            late_writes += op == "write"
        else:
            wrote = BEGIN + now_ms
            status = status or (argument if op == "status" else 200)
            body += argument if op == "write" else ""
    got = {
        "status": status or 200,
        "body": body,
        "ended_after_ms": ended_ms if ended_ms >= 0 else now_ms,
        "late_write_errors": late_writes,
    }
    assert got == case["expect"]
