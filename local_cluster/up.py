"""The stack's own process, `python -m local_cluster.up CONFIG`: what `knuv up` becomes once it knows what is wanted."""

import os
import signal
import sys

from kube import lean_imports
from local_cluster.missing import EXIT_USAGE, missing

__all__ = ["main"]


def main() -> int:
    """Run the stack until it is told to end; the exit code."""
    # Until the stack listens for it there is nothing to end in order; asyncio's own handler would load `inspect`.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    lean_imports.postpone()
    from local_cluster.authorities import authority_variables

    for name, value in authority_variables().items():
        os.environ.setdefault(name, value)  # noqa: TID251 - for ourselves; pods have an environment of their own
    try:
        from local_cluster.stack import StackConfig, StackError, run
    except ModuleNotFoundError as error:
        missing(error)
    try:
        run(StackConfig.from_json(sys.argv[1]), _say)
    except StackError as error:
        sys.stderr.write(f"knuv: {error}\n")
        return EXIT_USAGE
    except ModuleNotFoundError as error:
        missing(error)
    return 0


def _say(line: str) -> None:
    """To whoever listens. A closed pipe, or a terminal that is gone, is no reason to end, nor to end in disorder."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
