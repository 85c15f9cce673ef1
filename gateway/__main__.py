"""`python -m gateway` serves xDS; `python -m gateway bootstrap` prints Envoy's start configuration for it."""

import argparse
import os
import sys

from kube import lean_imports


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    bootstrap = commands.add_parser("bootstrap", help="print Envoy's start configuration")
    bootstrap.add_argument("--xds-address", default="127.0.0.1:18000", help="host:port or unix:/path of this gateway")
    bootstrap.add_argument("--admin-address", default="127.0.0.1:9901", help="host:port of Envoy's own admin pages")
    arguments = parser.parse_args()
    if arguments.command == "bootstrap":
        from gateway.bootstrap import render_bootstrap

        print(render_bootstrap(xds_address=arguments.xds_address, admin_address=arguments.admin_address))  # noqa: T201
        return 0
    lean_imports.postpone()
    from gateway.app import App
    from gateway.config import Config
    from kube.service import run_service

    return run_service("gateway", lambda environ: App(Config.from_env(environ)), os.environ)  # noqa: TID251


if __name__ == "__main__":
    sys.exit(main())
