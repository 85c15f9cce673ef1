"""What follows a failed attempt, by its status and the number of the delivery."""

import pytest

from broker.channel.jetstream_verdict import CRASHES, Failed, after_failure, delay_s, is_poisonous
from eventing.retries import DeliverySettings

THRICE = DeliverySettings(retries=3)


@pytest.mark.parametrize("status", [0, 408, 429, 500, 501, 503, 599])
def test_what_may_succeed_comes_again_until_the_retries_are_used_up(status: int) -> None:
    assert [after_failure(THRICE, status, number) for number in (1, 3, 4, 5)] == [
        Failed.AGAIN,
        Failed.AGAIN,
        Failed.DEAD_LETTER,
        Failed.DEAD_LETTER,
    ]


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 410, 422])
def test_what_will_not_succeed_is_a_dead_letter_at_once(status: int) -> None:
    assert after_failure(THRICE, status, 1) is Failed.DEAD_LETTER


def test_the_waits_are_one_step_later_than_over_http() -> None:
    linear = DeliverySettings(retries=3, backoff_policy="linear", backoff_s=1.0)
    exponential = DeliverySettings(retries=3, backoff_policy="exponential", backoff_s=1.0)
    assert [delay_s(linear, 503, number) for number in (1, 2, 3)] == [1.0, 2.0, 3.0]
    assert [delay_s(exponential, 503, number) for number in (1, 2, 3)] == [2.0, 4.0, 8.0]
    assert delay_s(DeliverySettings(retries=3), 503, 1) == 0.0


def test_a_response_that_asks_for_more_time_gets_it_within_bounds() -> None:
    settings = DeliverySettings(retries=3, retry_after_max_s=2.0)
    assert delay_s(settings, 429, 1, 1.0) == 1.0
    assert delay_s(settings, 429, 1, 60.0) == 2.0


def test_deliveries_that_ended_with_their_dispatcher_are_no_attempts_for_a_while() -> None:
    assert not is_poisonous(THRICE, 4 + CRASHES)
    assert is_poisonous(THRICE, 5 + CRASHES)
