"""`python -m controller`."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping

import uvloop

from controller.app import App
from controller.config import Config
from proxies.environment import ConfigError


async def run(environ: Mapping[str, str]) -> int:
    """Run until a signal asks to end; the exit code."""
    try:
        config = Config.from_env(environ)
    except ConfigError as error:
        for problem in error.problems:
            print(f"controller: {problem}", file=sys.stderr)  # noqa: T201 - for the person who started it
        return 1
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    app = App(config)
    try:
        starting = loop.create_task(app.start())
        waiting = loop.create_task(ending.wait())
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await waiting
            await app.drain()
        else:
            starting.cancel()
    except ConfigError as error:
        for problem in error.problems:
            print(f"controller: {problem}", file=sys.stderr)  # noqa: T201 - for the person who started it
        return 1
    finally:
        await app.stop()
    return 0


if __name__ == "__main__":
    sys.exit(uvloop.run(run(os.environ)))  # noqa: TID251
