"""`python -m activator`."""

import os
import sys

from kube import lean_imports


def main() -> int:
    """Run the activator; the exit code."""
    lean_imports.postpone()
    from activator.app import App
    from activator.config import Config
    from kube.service import run_service

    return run_service("activator", lambda environ: App(Config.from_env(environ)), os.environ)  # noqa: TID251


if __name__ == "__main__":
    sys.exit(main())
