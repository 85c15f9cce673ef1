"""`python -m queue_proxy`: exit code 0 after an orderly shutdown, 1 when it cannot start or is told to hurry."""

import os
import signal
import sys

if __name__ == "__main__":
    # Before asyncio and uvloop are imported: it keeps away from them what a queue-proxy does not use.
    from queue_proxy import lean_imports

    lean_imports.postpone(os.environ)  # noqa: TID251 - one of the two places where the environment is read

import asyncio

import uvloop

from proxies.environment import ConfigError
from proxies.listener import raise_open_files
from queue_proxy.app import App
from queue_proxy.config import Config


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT, then drain and stop. A second signal ends the process at once."""
    terminated = asyncio.Event()
    loop = asyncio.get_running_loop()

    def terminate() -> None:
        if terminated.is_set():
            os._exit(1)
        terminated.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, terminate)
    app = App(config)
    await app.start()
    await terminated.wait()
    await app.drain()
    await app.stop()


def main() -> int:
    """Read the environment and serve; return the exit code."""
    try:
        config = Config.from_env(os.environ)  # noqa: TID251 - the one place where the environment is read
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    raise_open_files()
    # Otherwise asyncio's runner sets a handler of its own, and uvloop's `add_signal_handler`, which meets it, spends
    # 5 ms on the text of an error that nobody sees.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        uvloop.run(serve(config))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"queue-proxy cannot run: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
