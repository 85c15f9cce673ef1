"""`python -m controller` reconciles; `webhook` defaults and checks what is written; `default-domain` is a job.

`KNUV_CONTROLLERS` says what is reconciled: serving (default), eventing, and what is beside (`controller.together`).
"""

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kube import lean_imports

if TYPE_CHECKING:
    from kube.service import Service


def main() -> int:
    """Command line; the exit code."""
    lean_imports.postpone()
    parser = argparse.ArgumentParser(prog="python -m controller", description=__doc__)
    parser.add_argument("role", nargs="?", choices=["webhook", "default-domain"], help="be this instead")
    parser.add_argument("--magic-dns", default="sslip.io", help="who resolves names with addresses in them (sslip.io)")
    options = parser.parse_args()
    if options.role == "default-domain":
        return _default_domain(os.environ, options.magic_dns)  # noqa: TID251
    from kube.service import run_service

    is_webhook = options.role == "webhook"
    return run_service(options.role or "controller", _webhook if is_webhook else _controller, os.environ)  # noqa: TID251


def _controller(environ: Mapping[str, str]) -> "Service":
    from controller.together import make_controllers

    return make_controllers(environ)


def _webhook(environ: Mapping[str, str]) -> "Service":
    from controller.config import WebhookConfig
    from controller.webhook import WebhookApp

    return WebhookApp(WebhookConfig.from_env(environ))


def _default_domain(environ: Mapping[str, str], magic_dns: str) -> int:
    import uvloop

    from controller.default_domain import DefaultDomainConfig, NoAddress, assign
    from kube.errors import ApiError, ApiUnreachable
    from proxies.environment import ConfigError

    try:
        uvloop.run(assign(DefaultDomainConfig.from_env(environ, magic_dns)))
    except ConfigError as error:
        problems = error.problems
    except (NoAddress, ApiError, ApiUnreachable, OSError) as error:
        problems = [str(error)]
    else:
        return 0
    for problem in problems:
        sys.stderr.write(f"default-domain: {problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
