"""Pauses between attempts, and the bound of what waits; the connection itself is in the conformance tests."""

import random
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from activator.stat_reporter import reconnect_delays_s


@given(st.integers())
def test_pauses_grow_with_jitter_and_begin_again_after_twenty(seed: int) -> None:
    delays_s = list(islice(reconnect_delays_s(random.Random(seed)), 41))
    for attempt, delay_s in enumerate(delays_s):
        least_s = 0.1 * 1.3 ** (attempt % 20)
        assert least_s <= delay_s < 1.5 * least_s * 1.000001
