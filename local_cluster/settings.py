"""Where a stack's files are, and what a running stack says about itself."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["SYSTEM_NAMESPACE", "StackInfo", "default_state_dir", "kubeconfig_path"]

_INFO = "stack.json"
SYSTEM_NAMESPACE = "knative-serving"


@dataclass(frozen=True, slots=True)
class StackInfo:
    """Written by `knuv up` into its state directory, for the other commands."""

    pid: int
    http_port: int
    api_url: str
    autoscaler_debug: str
    subnet: str = ""
    """The stack's part of the loopback network."""
    brokers_host: str = ""
    """The name under which the gateway leads to the Brokers' ingress; empty: there is no eventing."""
    pods_have_networks: bool = False
    """Pods reach nothing of this machine, nor this machine them."""

    @property
    def api_port(self) -> int:
        """The port of `api_url`; 0 where there is none."""
        return urlsplit(self.api_url).port or 0

    def save(self, state_dir: Path) -> None:
        """Write the file whole or not at all."""
        path = state_dir / _INFO
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)

    @classmethod
    def load(cls, state_dir: Path) -> "StackInfo | None":
        """What the stack of this directory said last, or None."""
        try:
            return cls(**json.loads((state_dir / _INFO).read_text()))
        except (OSError, ValueError, TypeError):
            return None


def default_state_dir() -> Path:
    """`KNUV_STATE_DIR`, else `knuv` in the user's state folder (XDG base directory specification)."""
    environ = os.environ  # noqa: TID251 - the one place where the command line reads it
    if environ.get("KNUV_STATE_DIR"):
        return Path(environ["KNUV_STATE_DIR"])
    return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "knuv"


def kubeconfig_path(state_dir: Path | None) -> Path:
    """The kubeconfig that commands use: of the named stack, else `KUBECONFIG`, else of the default stack."""
    chosen = os.environ.get("KUBECONFIG")  # noqa: TID251 - as above
    if state_dir is None and chosen:
        return Path(chosen)
    return (state_dir or default_state_dir()) / "kubeconfig"
