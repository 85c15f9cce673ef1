"""How long and how hard: short by default, longer by `make soak-activator` and `make soak-transitions`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named on the command line; everywhere else the defaults count."""
    parser.addoption("--soak-seconds", type=int, default=15, help="how long clients give up waiting")
    parser.addoption("--transitions", type=int, default=40, help="changes of a revision's pods under load")
    parser.addoption("--rate", type=int, default=100, help="requests a second meanwhile")
