"""Constant arrivals. With `--rollout-command` something happens in the middle: a new revision, say.

locust -f loadtests/locust/steady.py --rollout-command 'kubectl apply -f hello-2.yaml' -t 60s ...
"""

import shlex
from typing import Any

import gevent
from gevent import subprocess
from locust import events

from loadtests.locust.common import OpenLoop


class Steady(OpenLoop):
    """All arrivals."""

    fixed_count = 1


@events.init_command_line_parser.add_listener
def _add_options(parser: Any, **_: Any) -> None:
    parser.add_argument("--rollout-command", default="", help="run once, in the middle of --run-time")


@events.test_start.add_listener
def _started(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    if options.rollout_command:
        words = shlex.split(options.rollout_command)
        gevent.spawn_later((options.run_time or 60) / 2, _roll_out, environment, words)


def _roll_out(environment: Any, words: list[str]) -> None:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except OSError as error:
        code, told = 127, str(error)
    else:
        code, told = done.returncode, (done.stdout + done.stderr).strip()
    print(f"rollout: {told}" if not code else f"FAILED: {shlex.join(words)} ended with {code}: {told}")
    if code:
        environment.process_exit_code = 1
