"""`proxies/request_stats.py`: windows that the recorded vectors do not show."""

import pytest

from proxies.request_stats import RequestStats


def test_half_a_second_in_a_window_of_one_averages_to_a_half() -> None:
    stats = RequestStats(10.0)
    stats.request_in(10.2)
    stats.request_out(10.7)
    report = stats.report(11.0)
    assert report.average_concurrency == pytest.approx(0.5)
    assert (report.request_count, report.proxied_request_count, report.average_proxied_concurrency) == (1, 0, 0)


def test_a_request_that_goes_on_counts_its_time_but_not_its_arrival_again() -> None:
    stats = RequestStats(0.0)
    stats.request_in(0.0, proxied=True)
    stats.report(1.0)
    report = stats.report(2.0)
    assert (report.average_concurrency, report.average_proxied_concurrency) == (1.0, 1.0)
    assert (report.request_count, report.proxied_request_count) == (0, 0)
    assert stats.concurrency == 1


def test_a_window_without_time_is_zero_and_not_an_error() -> None:
    stats = RequestStats(5.0)
    stats.request_in(4.0)
    assert stats.report(5.0).average_concurrency == 0.0
