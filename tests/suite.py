"""`python -m tests.suite [argument of pytest...]`: all tests, and once more, alone, those that failed beside others.

On a busy machine a test may miss a deadline for want of a processor. So when a run ends with a few failures, they
run once more, one after the other, with nothing beside them. A real fault fails twice, and the exit code says so. What
passed alone is named at the end all the same: it is a flaw of the test, to be mended.

Examples drawn at random are the same in every run (hypothesis' own profile for this); `make fuzz` and runs of single
files look for others.
"""

import subprocess
import sys
from collections.abc import Sequence

import pytest

__all__ = ["main"]

_AGAIN_MAX = 10
"""So many failures may come from a want of time; more of them come from a fault."""
_SAME_EXAMPLES = "--hypothesis-profile=ci"


class Failed:
    """A plugin: the tests of which some phase failed, in order."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for each phase of each test, of all workers."""
        if report.failed:
            self.names[report.nodeid] = None


def main(arguments: Sequence[str]) -> int:
    """Run the tests, and return the exit code."""
    failed = Failed()
    code = int(pytest.main([_SAME_EXAMPLES, *arguments], plugins=[failed]))
    names = list(failed.names)
    if code != pytest.ExitCode.TESTS_FAILED or not 0 < len(names) <= _AGAIN_MAX:
        return code
    print(f"\nOnce more, alone: {len(names)} that failed beside others", flush=True)
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", _SAME_EXAMPLES, "--verbose", *names]
    code = subprocess.run(command, check=False).returncode
    print(f"\nFailed beside others, and {'passed' if code == 0 else 'did not all pass'} alone:", *names, sep="\n  ")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
