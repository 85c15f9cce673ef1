"""`pytest tests/golden --golden DIR` replays the sets of any folder in the format of `tests/golden/README.md`."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.golden.replay import Golden, Vectors, load

COMMITTED = Path(__file__).parent / "data"
_PROPERTY = "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", metavar="DIR", default=None, help="replay the golden sets of this folder")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Return `golden(set_name)`: the vectors of that set, to be used as a context manager."""
    # The option exists only where this folder was named on the command line; everywhere else the committed sets count.
    chosen = request.config.getoption("golden", None)

    def report(line: str) -> None:
        request.node.user_properties.append((_PROPERTY, line))

    def vectors(name: str, *, later: Mapping[str, str] | None = None) -> Vectors:
        directory = Path(chosen) if chosen else COMMITTED
        return load(directory, name, later=later or {}, report=report, required=chosen is None)

    return vectors


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print `set: matched/total` per set, also when the tests ran in several processes."""
    lines = {
        str(line)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, line in getattr(report, "user_properties", ())
        if name == _PROPERTY
    }
    if lines:
        terminalreporter.section("golden vectors")
    for line in sorted(lines):
        terminalreporter.write_line(line)
