"""How long and how hard: short by default, longer by `make soak-eventing`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named on the command line; everywhere else the defaults count."""
    parser.addoption("--kill-seconds", type=int, default=9, help="how long processes are killed in turn")
    parser.addoption("--kill-every", type=float, default=1.5, help="seconds from one to the next")
    parser.addoption("--events", type=int, default=100, help="events a second meanwhile")
