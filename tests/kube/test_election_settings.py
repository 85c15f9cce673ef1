"""The ConfigMap `config-leader-election`: defaults, both spellings, and what is refused with which words."""

import pytest

from kube.election.settings import ElectionSettings, InvalidElectionSettings, LeaseTiming


def test_an_empty_map_means_knatives_defaults() -> None:
    settings = ElectionSettings.from_data({})
    assert settings.buckets == 1
    assert settings.timing == LeaseTiming(duration_s=60, renew_deadline_s=40, retry_s=10)


def test_every_key_is_read_and_unknown_ones_are_ignored() -> None:
    data = {"buckets": "3", "lease-duration": "15s", "renew-deadline": "10s", "retry-period": "2s", "resourceLock": "x"}
    assert ElectionSettings.from_data(data) == ElectionSettings(
        buckets=3, timing=LeaseTiming(duration_s=15, renew_deadline_s=10, retry_s=2)
    )


def test_the_older_spelling_counts_where_the_newer_is_absent() -> None:
    data = {"leaseDuration": "90s", "renewDeadline": "50s", "renew-deadline": "30s", "retryPeriod": "5s"}
    assert ElectionSettings.from_data(data).timing == LeaseTiming(duration_s=90, renew_deadline_s=30, retry_s=5)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"buckets": "0"}, "buckets: value must be between 1 <= 0 <= 10"),
        ({"buckets": "11"}, "buckets: value must be between 1 <= 11 <= 10"),
        ({"buckets": "many"}, "failed to parse \"buckets\": expected an integer, got 'many'"),
        ({"leaseDuration": "60"}, 'failed to parse "leaseDuration": expected a duration such as 300ms or 1m30s'),
        ({"retry-period": "0s"}, "retry-period = 0s, must be greater than 0s"),
        ({"lease-duration": "40s"}, "lease-duration = 40s, must be greater than renew-deadline = 40s"),
        ({"renew-deadline": "12s"}, "renew-deadline = 12s, must be greater than 1.2 times retry-period = 10s"),
        ({"renew-deadline": "-1s"}, "renew-deadline = -1s, must be greater than 1.2 times retry-period = 10s"),
    ],
)
def test_what_would_not_work_is_refused_with_the_key_and_the_rule(data: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidElectionSettings) as refused:
        ElectionSettings.from_data(data)
    assert str(refused.value).startswith(problem)
