"""Replays `active_condition`: the conditions of a revision after a round."""

from typing import Any

from autoscaler.activity import next_activity
from tests.golden.replay import Golden, same


def test_active_condition(golden: Golden) -> None:
    with golden("active_condition") as vectors:
        vectors.each("rows", check_row)


def check_row(row: list[Any]) -> None:
    minimum, initial, before, initialized, has_service, want, ready, after, reason, initialized_after = row
    activity = next_activity(
        active=before,
        is_initialized=initialized,
        has_service=has_service,
        want=want,
        ready=ready,
        min_scale=minimum,
        initial_scale=initial,
    )
    # A condition that stays as it is has no reason in the recording.
    status, reason_after = (before, "") if activity.active is None else activity.active[:2]
    got = [status, reason_after, initialized or activity.becomes_initialized]
    same(got, [after, reason, initialized_after], "after")
