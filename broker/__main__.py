"""`python -m broker ingress|filter|dispatcher|job-sink`."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final

from broker.config import DISPATCHER, FILTER, INGRESS, JOB_SINK, Config, Process
from broker.role import Role
from broker.shell import Shell
from kube.service import run_service
from proxies.environment import ConfigError

_USAGE: Final = "usage: python -m broker ingress|filter|dispatcher|job-sink\n"


def main() -> int:
    """Run one of the processes; the exit code."""
    process = {each.name: each for each in (INGRESS, FILTER, DISPATCHER, JOB_SINK)}.get(" ".join(sys.argv[1:]))
    if process is None:
        sys.stderr.write(_USAGE)
        return 2
    name = f"broker {process.name}"
    return run_service(name, lambda environ: _shell(process, environ), os.environ)  # noqa: TID251


def _shell(process: Process, environ: Mapping[str, str]) -> Shell:
    """Raises `ConfigError` with everything that is wrong with the environment."""
    problems: list[str] = []
    config, role = None, None
    try:
        config = Config.from_env(environ, process)
    except ConfigError as error:
        problems += error.problems
    try:
        role = _role(process)(environ)
    except ConfigError as error:
        problems += error.problems
    if config is None or role is None:
        raise ConfigError(problems)
    return Shell(config, role)


def _role(process: Process) -> Callable[[Mapping[str, str]], Role]:
    """Each loads what it needs, and nothing of the others."""
    if process is INGRESS:
        from broker.ingress import IngressRole

        return IngressRole
    if process is FILTER:
        from broker.filter import FilterRole

        return FilterRole
    if process is JOB_SINK:
        from broker.job_sink import JobSinkRole

        return JobSinkRole
    from broker.dispatcher import DispatcherRole

    return DispatcherRole


if __name__ == "__main__":
    sys.exit(main())
