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
        gevent.spawn_later((options.run_time or 60) / 2, _roll_out, shlex.split(options.rollout_command))


def _roll_out(words: list[str]) -> None:
    done = subprocess.run(words, check=False)
    print(f"rollout: {shlex.join(words)} ended with {done.returncode}")
