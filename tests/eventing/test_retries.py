"""What is retried and after which wait (spec eventing-channels.md 2; statements 28, 29, 31-34, 36, 37)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.retries import ONE_ATTEMPT, DeliverySettings, is_retried, retry_after_s


def _settings(**fields: str | int | None) -> DeliverySettings:
    names = ("retry", "backoff_policy", "backoff_delay", "timeout", "retry_after_max")
    return DeliverySettings.read(**{name: fields.get(name) for name in names})  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [0, 404, 408, 409, 429, 500, 501, 503, 505, 599])
def test_is_retried(status: int) -> None:
    assert is_retried(status)


@pytest.mark.parametrize("status", [200, 202, 299, 301, 307, 400, 401, 403, 405, 410, 413, 415, 422])
def test_is_not_retried(status: int) -> None:
    assert not is_retried(status)


def _waits(settings: DeliverySettings) -> list[float]:
    return [settings.wait_s(retry) for retry in range(settings.retries)]


def test_linear_waits_begin_at_nothing() -> None:
    assert _waits(_settings(retry=4, backoff_policy="linear", backoff_delay="PT1S")) == [0, 1, 2, 3]


def test_exponential_waits_begin_at_the_delay() -> None:
    assert _waits(_settings(retry=4, backoff_policy="exponential", backoff_delay="PT1S")) == [1, 2, 4, 8]


def test_the_default_of_brokers_waits_for_204_6_seconds_in_all() -> None:
    settings = _settings(retry=10, backoff_policy="exponential", backoff_delay="PT0.2S")
    assert sum(_waits(settings)) == pytest.approx(204.6)


@pytest.mark.parametrize("fields", [{"backoff_policy": "linear"}, {"backoff_delay": "PT1S"}, {}])
def test_a_missing_field_means_no_wait(fields: dict[str, str]) -> None:
    assert _waits(_settings(retry=3, **fields)) == [0, 0, 0]


def test_a_quarter_of_a_second_is_a_fifth() -> None:
    assert _settings(backoff_policy="exponential", backoff_delay="PT0.25S").wait_s(0) == 0.2


def test_without_delivery_there_is_one_attempt() -> None:
    assert ONE_ATTEMPT.retries == 0
    assert _settings(backoff_policy="linear", backoff_delay="PT1S").retries == 0


def test_a_negative_timeout_is_none() -> None:
    assert _settings(timeout="-PT1S").timeout_s is None
    assert _settings(timeout="PT1S").timeout_s == 1


def test_retry_after_lengthens_the_wait_up_to_its_maximum() -> None:
    settings = _settings(backoff_policy="exponential", backoff_delay="PT1S", retry_after_max="PT2S")
    assert settings.wait_s(0, 429, 1.5) == 1.5
    assert settings.wait_s(0, 429, 60) == 2
    assert settings.wait_s(0, 503, 0.5) == 1
    assert settings.wait_s(4, 503, 60) == 16
    assert settings.wait_s(0, 500, 60) == 1


@pytest.mark.parametrize("maximum", [None, "PT0S", "-PT1S"])
def test_retry_after_is_ignored_without_a_maximum(maximum: str | None) -> None:
    assert _settings(retry_after_max=maximum).wait_s(0, 429, 60) == 0


def test_retry_after_is_seconds_or_a_date_and_anything_else_nothing() -> None:
    assert retry_after_s(b" 120 ", 0) == 120
    assert retry_after_s(b"Wed, 21 Oct 2015 07:28:10 GMT", 1445412480) == 10
    assert retry_after_s(b"Wed, 21 Oct 2015 07:28:10 GMT", 1445412500) == 0
    for odd in (b"", b"soon", b"-1", b"1.5", b"\xb2", b"Wed, 99 Oct 2015 07:28:10 GMT", b"\x00"):
        assert retry_after_s(odd, 0) == 0


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"backoffPolicy: expected linear or exponential, got 'random'"):
        _settings(backoff_policy="random")
    with pytest.raises(ValueError, match=r"backoffDelay: expected an ISO 8601 period"):
        _settings(backoff_delay="5s")
    with pytest.raises(ValueError, match=r"timeout: "):
        _settings(timeout="1")
    with pytest.raises(ValueError, match=r"retryAfterMax: "):
        _settings(retry_after_max="")


@given(st.integers(0, 2**31), st.sampled_from(["linear", "exponential"]), st.integers(0, 999_999_999))
def test_waits_are_finite_never_negative_and_never_shrink(retry: int, policy: str, seconds: int) -> None:
    settings = _settings(backoff_policy=policy, backoff_delay=f"PT{seconds}S")
    assert 0 <= settings.wait_s(retry) <= settings.wait_s(retry + 1) < 1e19
    assert _settings(backoff_policy=policy, backoff_delay=f"-PT{seconds}S").wait_s(retry) == 0


@given(st.binary(max_size=40))
def test_any_retry_after_is_a_number_of_seconds(value: bytes) -> None:
    assert retry_after_s(value, 1e9) >= 0
