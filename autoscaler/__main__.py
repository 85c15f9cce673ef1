"""`python -m autoscaler`."""

import os
import sys

from autoscaler.app import App
from autoscaler.config import Config
from kube.service import run_service
from proxies.listener import raise_open_files

if __name__ == "__main__":
    raise_open_files()
    sys.exit(run_service("autoscaler", lambda environ: App(Config.from_env(environ)), os.environ))  # noqa: TID251
