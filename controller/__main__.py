"""`python -m controller` reconciles; `python -m controller webhook` defaults and checks what is written.

`KNUV_CONTROLLERS` says what is reconciled: serving (default), eventing, or both (`controller.together`).
"""

import argparse
import os
import sys
from collections.abc import Mapping

from kube.service import Service, run_service


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m controller", description=__doc__)
    parser.add_argument("role", nargs="?", choices=["webhook"], help="be the admission webhook instead")
    role = parser.parse_args().role
    return run_service(role or "controller", _webhook if role else _controller, os.environ)  # noqa: TID251


def _controller(environ: Mapping[str, str]) -> Service:
    from controller.together import make_controllers

    return make_controllers(environ)


def _webhook(environ: Mapping[str, str]) -> Service:
    from controller.config import WebhookConfig
    from controller.webhook import WebhookApp

    return WebhookApp(WebhookConfig.from_env(environ))


if __name__ == "__main__":
    sys.exit(main())
