"""`python -m deploy.grafana` writes the dashboards' JSON files anew."""

import json
from collections.abc import Mapping
from pathlib import Path

from deploy.grafana.dashboards import DASHBOARDS
from deploy.grafana.panels import render

__all__ = ["FOLDER", "files"]

FOLDER = Path(__file__).parent


def files() -> Mapping[str, str]:
    """File name -> what is to stand in it."""
    return {f"{name}.json": json.dumps(render(each), indent=1) + "\n" for name, each in DASHBOARDS.items()}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
