"""`knuv why`: what keeps a Service from being ready."""

import time
from typing import Annotated

import typer

from kube.client import Client
from local_cluster.cli import Namespace, StateDir, out, with_client
from local_cluster.event_views import printable
from local_cluster.why import findings, lines, take

__all__ = ["why"]


def why(
    name: Annotated[str, typer.Argument(help="A Service.")],
    *,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """Say why a Service is not ready: the first of its objects that is not, in its own words."""

    async def work(client: Client) -> None:
        for line in lines(findings(await take(client, name, namespace), time.time())):
            out.print(printable(line.replace("\n", " ")), markup=False)

    with_client(state_dir, work)
