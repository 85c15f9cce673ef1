"""`python -m autoscaler`."""

import os
import sys

from autoscaler.app import App
from autoscaler.config import Config
from kube.service import run_service

if __name__ == "__main__":
    sys.exit(run_service("autoscaler", lambda environ: App(Config.from_env(environ)), os.environ))  # noqa: TID251
