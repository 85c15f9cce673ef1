"""`python -m gateway` serves xDS; `python -m gateway bootstrap` prints Envoy's start configuration for it."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping

import uvloop

from gateway.app import App
from gateway.bootstrap import render_bootstrap
from gateway.config import Config
from proxies.environment import ConfigError


async def run(environ: Mapping[str, str]) -> int:
    """Run until a signal asks to end; the exit code."""
    try:
        config = Config.from_env(environ)
    except ConfigError as error:
        for problem in error.problems:
            print(f"gateway: {problem}", file=sys.stderr)  # noqa: T201 - for the person who started it
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
    finally:
        await app.stop()
    return 0


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    bootstrap = commands.add_parser("bootstrap", help="print Envoy's start configuration")
    bootstrap.add_argument("--xds-address", default="127.0.0.1:18000", help="host:port or unix:/path of this gateway")
    bootstrap.add_argument("--admin-address", default="127.0.0.1:9901", help="host:port of Envoy's own admin pages")
    arguments = parser.parse_args()
    if arguments.command == "bootstrap":
        print(render_bootstrap(xds_address=arguments.xds_address, admin_address=arguments.admin_address))  # noqa: T201
        return 0
    code: int = uvloop.run(run(os.environ))  # noqa: TID251
    return code


if __name__ == "__main__":
    sys.exit(main())
