"""`python -m activator`."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping

import uvloop

from activator.app import App
from activator.config import Config
from kube.errors import ApiError, ApiUnreachable
from proxies.environment import ConfigError


async def run(environ: Mapping[str, str]) -> int:
    """Run until a signal asks to end; a second signal ends at once. The exit code."""
    ending = asyncio.Event()

    def end() -> None:
        if ending.is_set():
            os._exit(1)
        ending.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        app = App(Config.from_env(environ))
        try:
            await _until(ending, app)
        finally:
            await app.stop()
    except ConfigError as error:
        return _refuse(error.problems)
    except (ApiError, ApiUnreachable, OSError) as error:
        return _refuse([str(error)])
    return 0


async def _until(ending: asyncio.Event, app: App) -> None:
    """Start `app` and serve until `ending`, then drain."""
    starting = asyncio.get_running_loop().create_task(app.start())
    waiting = asyncio.get_running_loop().create_task(ending.wait())
    await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return
    try:
        starting.result()
    except BaseException:
        waiting.cancel()
        raise
    await waiting
    await app.drain()


def _refuse(problems: list[str]) -> int:
    for problem in problems:
        print(f"activator: {problem}", file=sys.stderr)  # noqa: T201 - for the person who started it
    return 1


if __name__ == "__main__":
    sys.exit(uvloop.run(run(os.environ)))  # noqa: TID251
