"""Kustomize directories as lists of objects, rendered by kubectl as an operator does."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = ["MANIFESTS", "OVERLAYS", "rendered_objects"]

MANIFESTS = Path(__file__).parents[2] / "deploy" / "manifests"
OVERLAYS = sorted(
    str(path.parent.relative_to(MANIFESTS))
    for path in MANIFESTS.rglob("kustomization.yaml")
    if "kind: Kustomization" in path.read_text()
)
KUBECTL = Path(sys.executable).parent / "kubectl"


@cache
def rendered_objects(overlay: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    told = subprocess.run([KUBECTL, "kustomize", MANIFESTS / overlay], check=False, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return [each for each in yaml.safe_load_all(told.stdout) if each is not None]
