"""`autoscaler.plausibility`: figures that can be true."""

import math

import pytest

from autoscaler.plausibility import is_plausible
from proxies.wire.stat import Stat


@pytest.mark.parametrize(
    "stat",
    [
        Stat("p", average_concurrent_requests=math.nan),
        Stat("p", average_concurrent_requests=math.inf),
        Stat("p", average_concurrent_requests=-1),
        Stat("p", 1, average_proxied_concurrent_requests=math.nan),
        Stat("p", 1, average_proxied_concurrent_requests=1.1),
        Stat("p", 1, average_proxied_concurrent_requests=-0.1),
        Stat("p", request_count=-math.inf),
        Stat("p", request_count=-2),
        Stat("p", request_count=5, proxied_request_count=6),
        Stat("p", proxied_request_count=-1),
        Stat("p", request_count=1e308, average_concurrent_requests=1e308),
        Stat("p", average_concurrent_requests=1e308),
        Stat("p", request_count=1e16),
        Stat("p", timestamp=-5),
    ],
    ids=repr,
)
def test_figures_that_cannot_be_true(stat: Stat) -> None:
    assert not is_plausible(stat)


@pytest.mark.parametrize(
    "stat",
    [
        Stat("p"),
        Stat("p", 2.5, 2.5, 7, 7, timestamp=1_785_542_400),
        Stat("p", 2.5, 2.5000001),
        Stat("activator", request_count=-1),
    ],
    ids=["idle", "all proxied", "rounded", "an activator takes its first request back"],
)
def test_figures_that_can(stat: Stat) -> None:
    assert is_plausible(stat)
