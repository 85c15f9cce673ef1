"""`knuv up`: reads what is asked for, then becomes the stack (`up.py`).

What reads a command line takes 13 MB, which a stack would keep as long as it runs. Only what `up` itself needs is
imported here, for it is on the way to a stack that is ready.
"""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from local_cluster.components import read_components
from local_cluster.settings import default_state_dir
from local_cluster.stack_config import StackConfig

__all__ = ["become_stack", "up"]


class Network(StrEnum):
    """How pods are joined."""

    LOOPBACK = "loopback"
    NETNS = "netns"


class Channels(StrEnum):
    """What keeps events until they are delivered (`local_cluster.eventing.CHANNELS`)."""

    JOURNAL = "journal"
    MEMORY = "memory"
    JETSTREAM = "jetstream"
    NONE = "none"


def up(
    *,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the gateway on 127.0.0.1; 0: any.")] = 8080,
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the Kubernetes API; 0: any.")] = 0,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where the stack keeps its files; named, also its objects, for the next stack that is started there.",
            show_default="~/.local/state/knuv, and objects in memory",
        ),
    ] = None,
    network: Annotated[
        Network,
        typer.Option(help="loopback: pods share this machine's network; netns: each has its own (needs root)."),
    ] = Network.LOOPBACK,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Components to leave out, by commas: controller, autoscaler, activator, gateway, envoy."),
    ] = None,
    replace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMPONENT=COMMAND",
            help="Run a command instead of a component, with what Knative's own program finds: "
            "queue-proxy, activator, autoscaler, controller, gateway, broker-ingress or broker-filter.",
        ),
    ] = None,
    eventing: Annotated[
        Channels,
        typer.Option(
            help="Where events of Knative Eventing wait: journal (a file), memory (nowhere), jetstream (NATS); "
            "none: no eventing."
        ),
    ] = Channels.JOURNAL,
    file: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="Manifests to apply once the stack is up.")
    ] = None,
) -> None:
    """Run the whole stack until Ctrl-C."""
    become_stack(
        StackConfig(
            network=network.value,
            components=read_components(without or [], replace or [], eventing.value),
            http_port=http_port,
            api_port=api_port,
            state_dir=state_dir or default_state_dir(),
            keeps_state=state_dir is not None,
            manifests=tuple(file or ()),
        )
    )


def become_stack(config: StackConfig) -> NoReturn:
    """Go on as the program that is the stack, in the same process but without what the command line is made of."""
    # Not from the folder that we are in: it may have modules of the same names.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "local_cluster.up", config.to_json()])  # noqa: S606
