"""`python -m autoscaler`."""

import os
import sys

from kube import lean_imports


def main() -> int:
    """Run the autoscaler; the exit code."""
    lean_imports.postpone()
    from autoscaler.app import App
    from autoscaler.config import Config
    from kube.service import run_service
    from proxies.listener import raise_open_files

    raise_open_files()
    return run_service("autoscaler", lambda environ: App(Config.from_env(environ)), os.environ)  # noqa: TID251


if __name__ == "__main__":
    sys.exit(main())
