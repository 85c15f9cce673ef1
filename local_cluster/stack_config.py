"""What a stack is told at start."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local_cluster.settings import StackInfo
from local_cluster.system import Components

__all__ = ["StackConfig", "info_of_before"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """What `knuv up` was asked for."""

    http_port: int
    """Port of the gateway on 127.0.0.1; 0: any."""
    api_port: int
    """Port of the Kubernetes API on 127.0.0.1; 0: any."""
    state_dir: Path
    """Kubeconfig, credentials, logs. One stack per directory."""
    keeps_state: bool = False
    """Whether objects, credentials and addresses are those of the stack that used the directory before."""
    network: str = "loopback"
    """`loopback`: pods share the machine's network; `netns`: each has its own, which needs root."""
    components: Components = field(default_factory=Components)
    manifests: tuple[Path, ...] = ()
    """Applied once the stack is up."""

    def to_json(self) -> str:
        """As text, for `from_json` in another process."""
        return json.dumps(asdict(self), default=lambda value: str(value) if isinstance(value, Path) else sorted(value))

    @classmethod
    def from_json(cls, text: str) -> "StackConfig":
        """What `to_json` was asked for."""
        told = json.loads(text)
        parts = told["components"]
        told["components"] = Components(
            frozenset(parts["without"]),
            {name: tuple(command) for name, command in parts["replaced"].items()},
            parts["eventing"],
        )
        told["state_dir"] = Path(told["state_dir"])
        told["manifests"] = tuple(map(Path, told["manifests"]))
        return cls(**told)


def info_of_before(config: StackConfig) -> StackInfo:
    """Where the stack was that used the directory before; nowhere, if it is of no concern."""
    found = StackInfo.load(config.state_dir) if config.keeps_state else None
    return found or StackInfo(pid=0, http_port=0, api_url="", autoscaler_debug="")
