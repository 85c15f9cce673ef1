"""`python -m controller`."""

import os
import sys

from controller.app import App
from controller.config import Config
from kube.service import run_service

if __name__ == "__main__":
    sys.exit(run_service("controller", lambda environ: App(Config.from_env(environ)), os.environ))  # noqa: TID251
