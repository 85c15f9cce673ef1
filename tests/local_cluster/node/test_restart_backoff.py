"""`local_cluster/node/restart_backoff.py`."""

from local_cluster.node.restart_backoff import RestartBackoff


def test_restarts_come_at_once_then_after_10_s_doubling_to_5_minutes() -> None:
    backoff, now_s, waits = RestartBackoff(), 1000.0, []
    for _ in range(8):
        at_s = backoff.restart_at(now_s)
        waits.append(at_s - now_s)
        backoff.restarted(at_s)
        now_s = at_s + 1
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.delay_text == "5m0s"


def test_ten_minutes_of_running_are_forgiveness() -> None:
    backoff = RestartBackoff()
    for now_s in (0.0, 1.0, 2.0):
        backoff.restarted(now_s)
    assert backoff.restart_at(602.0) == 642.0
    assert backoff.restart_at(602.1) == 602.1
    backoff.restarted(602.1)
    assert backoff.restart_at(603.0) == 613.0
