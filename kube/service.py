"""How a service that lives on the Kubernetes API runs as a process: start, wait for a signal, drain, stop.

The exit codes are the originals': 0 after an orderly end; 1 when it could not start, with a line per problem on
stderr, and 1 at once when a second signal arrives while it drains.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

import uvloop

from kube.errors import ApiError, ApiUnreachable
from proxies.environment import ConfigError

__all__ = ["Service", "run_service"]


class Service(Protocol):
    """What every service's `App` offers."""

    async def start(self) -> None:
        """Serve; returns when everything listens."""

    async def drain(self) -> None:
        """Prepare for the end: refuse probes, finish what runs."""

    async def stop(self) -> None:
        """Free everything; must work after a failed or interrupted `start`."""


def run_service(name: str, make: Callable[[Mapping[str, str]], Service], environ: Mapping[str, str]) -> int:
    """Run the service that `make` builds from the environment; the exit code."""
    # Otherwise asyncio's runner sets a handler of its own, and uvloop's `add_signal_handler`, which meets it, makes the
    # text of an error that nobody sees: 5 ms, and `inspect` with all that it brings.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code: int = uvloop.run(_run(name, make, environ))
    return code


async def _run(name: str, make: Callable[[Mapping[str, str]], Service], environ: Mapping[str, str]) -> int:
    ending = asyncio.Event()

    def end() -> None:
        if ending.is_set():
            os._exit(1)
        ending.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        service = make(environ)
        try:
            await _serve_until(ending, service)
        finally:
            await service.stop()
    except ConfigError as error:
        return _refuse(name, error.problems)
    except (ApiError, ApiUnreachable, OSError) as error:
        return _refuse(name, [str(error)])
    return 0


async def _serve_until(ending: asyncio.Event, service: Service) -> None:
    loop = asyncio.get_running_loop()
    starting = loop.create_task(service.start())
    waiting = loop.create_task(ending.wait())
    try:
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return  # told to end before it had begun
        starting.result()
        await waiting
    finally:
        for task in (starting, waiting):
            task.cancel()
        await asyncio.wait((starting, waiting))
    await service.drain()


def _refuse(name: str, problems: list[str]) -> int:
    for problem in problems:
        sys.stderr.write(f"{name}: {problem}\n")
    return 1
