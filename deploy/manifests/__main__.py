"""`python -m deploy.manifests` writes anew what is made of the code; with `--check` it only says what is stale."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from deploy.manifests.crds import definitions
from gateway.bootstrap import render_bootstrap

__all__ = ["rendered"]

FOLDER = Path(__file__).parent
_HEAD = "# Written by `python -m deploy.manifests`: change what it is made of, not this file.\n"
XDS_SOCKET = "unix:/run/knuv/xds.sock"
ENVOY_ADMIN = "127.0.0.1:9901"


def rendered() -> Mapping[Path, str]:
    """File below this folder -> what is to stand in it."""
    crds = definitions()
    parts = ("serving", "eventing")
    groups = {part: [crd for crd in crds if _part(crd) == f"knative-{part}"] for part in parts}
    files = {Path("full", part, "crds.yaml"): _documents(found) for part, found in groups.items()}
    files[Path("full/serving/envoy.json")] = render_bootstrap(xds_address=XDS_SOCKET, admin_address=ENVOY_ADMIN) + "\n"
    return files


def main() -> int:
    """Command line; the exit code: 1 when `--check` finds a stale file."""
    parser = argparse.ArgumentParser(prog="python -m deploy.manifests", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    is_check = parser.parse_args().check
    stale = [path for path, text in rendered().items() if not _holds(FOLDER / path, text)]
    for path in stale:
        if is_check:
            sys.stderr.write(f"{path} is stale: run `python -m deploy.manifests`\n")
        else:
            (FOLDER / path).write_text(rendered()[path])
    return 1 if is_check and stale else 0


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def _part(crd: dict[str, object]) -> str:
    metadata = crd["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["labels"]["app.kubernetes.io/name"])


def _documents(objects: list[dict[str, object]]) -> str:
    return _HEAD + yaml.safe_dump_all(objects, sort_keys=False, width=120)


if __name__ == "__main__":
    sys.exit(main())
