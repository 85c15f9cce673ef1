"""A program that has imported itself and waits to be told who it is: `warm_child.py MODULE [SCRATCH]`.

A dict on stdin, {env, cwd, sandbox} as `marshal` writes it, makes it the container; the end of stdin ends it. With
SCRATCH it has made a root for itself as well, and `sandbox` says what else belongs to it. Started by `warm.py`.
"""

import importlib
import marshal
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from local_cluster.node import sandbox_child
from proxies.postponed import stand_in_for_inspection


def main() -> int:
    """Import, wait, become."""
    # What else a program of its own would put off depends on an environment that is not known before it is taken.
    stand_in_for_inspection()
    module = sys.argv[1]
    program = importlib.import_module(f"{module}.__main__")
    surroundings = sandbox_child.Surroundings(sys.argv[2]) if len(sys.argv) > 2 else None
    try:
        told = marshal.load(sys.stdin.buffer)  # noqa: S302 - whoever started us says what we become
    except EOFError:
        return 0
    if surroundings is not None:
        try:
            surroundings.enter(told["sandbox"])
        except OSError as error:
            sys.stderr.write(f"container: {error.strerror or error}\n")
            return sandbox_child.START_ERROR_CODE
    os.environ.clear()  # noqa: TID251 - it takes the place of the environment that exec would have set
    os.environ.update(told["env"])  # noqa: TID251
    os.chdir(told["cwd"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.argv[:] = [module]
    code: int = program.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
