"""What a node is told at start."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from local_cluster.node.environment import inherited

__all__ = ["NodeConfig"]


def _inherited() -> dict[str, str]:
    return inherited(os.environ)  # noqa: TID251 - containers get an allow-list of it, and nothing else reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node of a local stack."""

    subnet: IPv4Network
    """The stack's /16 of 127.0.0.0/8; pods get addresses of it."""
    state_dir: Path
    """Logs go to `logs/pods` in it; `images.yaml` in it is the image map."""
    name: str = "local"
    pods_max: int = 1000
    """Pods at once; a further one waits until another has ended."""
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Image pattern -> command, after those of `images.yaml`."""
    warm_command: tuple[str, ...] = ()
    """A command ending with `-m MODULE` of which spare processes are kept; empty: none (`warm.py`)."""
    working_dir: Path = field(default_factory=Path.cwd)
    """Where commands run whose container names no folder: the one in which the stack was started."""
    environ: Mapping[str, str] = field(default_factory=_inherited)
    """Variables that every container gets."""
    cluster_domain: str = "cluster.local"
