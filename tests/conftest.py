"""What holds for every test: which files come first, and that nothing drawn at random is timed."""

import pytest
from hypothesis import HealthCheck, settings

# An example's time is that of the machine and of what else runs on it.
settings.register_profile("knuv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("knuv")

LONGEST = ("tests/faults/test_long_waits.py",)
"""Files in the order in which they begin: those that take longest would be the last to end."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; the others keep their order."""
    place = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONGEST)))
