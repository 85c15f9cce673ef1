"""What holds for every test: how many run at once, how long, in which order, and that what is drawn is not timed."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

pytest_plugins = ["tests.support.time_limits"]

# An example's time is that of the machine and of what else runs on it. One that fails says how to play it again.
settings.register_profile("knuv", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("knuv")


@pytest.hookimpl(trylast=True)  # by then hypothesis knows which profile is asked for
def pytest_configure() -> None:
    """Where examples are to be alike in every run, keep out of them what depends on the run.

    That is the constants of our own modules which hypothesis mixes in: of those that happen to be loaded, which differ
    between a run of all tests, its workers, and one test alone.
    """
    if settings().derandomize:
        nothing = providers._local_constants
        providers._get_local_constants = lambda: nothing


LONGEST = (
    "tests/faults/test_long_waits.py",
    "tests/conformance/queue_proxy/test_drain.py",
    "tests/system/",
    "tests/loadtests/",
    "tests/queue_proxy/test_lab.py",
    "tests/faults/",
)
"""Files and folders in the order in which they begin: who takes longest must not be the last to end."""


@pytest.hookimpl(optionalhook=True)  # where tests run alone there is no xdist
def pytest_xdist_auto_num_workers() -> int:
    """Three workers for each processor: a test that waits for a timer, or for a process to start, leaves it to others.

    All tests together take ten minutes of processor time. Four workers on two processors left half of theirs unused.
    """
    return 3 * len(os.sched_getaffinity(0))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the others keep their order."""

    def place(item: pytest.Item) -> int:
        return next((index for index, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST))

    items.sort(key=place)
