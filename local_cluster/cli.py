"""The command `knuv`: bring the local stack up, and look at it without kubectl."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from kube.client import Client
from kube.config import ApiConfig
from kube.errors import ApiError, ApiUnreachable, NotFound
from kube.models.core import Pod, ServiceAccount
from local_cluster.cli_lab import ANY_ARGUMENTS, lab
from local_cluster.cli_up import up
from local_cluster.manifests import Kinds, ManifestError, apply, load
from local_cluster.missing import EXIT_USAGE
from local_cluster.settings import SYSTEM_NAMESPACE, StackInfo, default_state_dir, kubeconfig_path
from local_cluster.simulate import simulate_command
from local_cluster.views import describe_lines, service_rows, table_rows
from proxies.environment import ConfigError

__all__ = ["Failure", "Namespace", "StateDir", "app", "err", "out", "with_client"]

app = typer.Typer(
    name="knuv",
    help="Knative on this machine: services that scale from zero, without a cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)  # the first in the list of commands
out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", help="Where the stack keeps its files.", show_default="~/.local/state/knuv"),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the objects.")]


class Failure(Exception):
    """A command cannot be carried out; the text is for the person who typed it."""


@app.command("kubeconfig")
def kubeconfig_(
    *,
    as_: Annotated[
        str, typer.Option("--as", metavar="[NAMESPACE/]SERVICEACCOUNT", help="A program's identity; else an admin's.")
    ] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of the account.")] = SYSTEM_NAMESPACE,
    state_dir: StateDir = None,
) -> None:
    """Print a kubeconfig, for a program that is to run against the stack."""
    path = (state_dir or default_state_dir()) / "kubeconfig"
    if not as_:
        try:
            sys.stdout.write(path.read_text())
        except OSError as error:
            err.print(f"knuv: {path}: {error.strerror}. Is the stack up (`knuv up`)?", markup=False)
            raise typer.Exit(EXIT_USAGE) from None
        return
    where, _, account = as_.removeprefix("system:serviceaccount:").replace(":", "/").rpartition("/")

    async def work(client: Client) -> None:
        from local_cluster.apiserver.certificates import render_kubeconfig

        target = ServiceAccount.RESOURCE.path(where or namespace, account, "token")
        answer = json.loads(await client.raw("POST", target, body=b'{"kind": "TokenRequest", "spec": {}}'))
        config = ApiConfig.from_kubeconfig(path)
        token = answer["status"]["token"]
        sys.stdout.write(render_kubeconfig(config.server, config.ca_pem.encode(), token, where or namespace))

    with_client(state_dir, work)


@app.command("apply")
def apply_(
    file: Annotated[list[Path], typer.Option("--file", "-f", help="YAML or JSON manifests; - is stdin.")],
    *,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """Create or update the objects of manifests, as `kubectl apply` does."""

    async def work(client: Client) -> None:
        kinds = await Kinds.discover(client)
        for path in file:
            for manifest in load(path):
                try:
                    done = await apply(client, kinds, manifest, namespace)
                except (ApiError, ManifestError) as error:
                    text = error.message if isinstance(error, ApiError) else str(error)
                    raise Failure(f"{path}: {manifest['kind']} {manifest['metadata']['name']}: {text}") from error
                out.print(f"{done.kind.lower()}/{done.name} {done.outcome}")

    with_client(state_dir, work)


@app.command()
def get(
    kind: Annotated[str, typer.Argument(help="services, revisions, pods, ... or any kind that the API has.")],
    name: Annotated[str | None, typer.Argument(help="One object; without it all.")] = None,
    *,
    namespace: Namespace = "default",
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A")] = False,
    output: Annotated[str, typer.Option("--output", "-o", help="table, yaml or json.")] = "table",
    state_dir: StateDir = None,
) -> None:
    """List objects."""
    if output not in ("table", "yaml", "json"):
        raise typer.BadParameter("expected table, yaml or json", param_hint="--output")

    async def work(client: Client) -> None:
        info = (await Kinds.discover(client)).named(kind)
        where = "" if all_namespaces else namespace
        if output != "table":
            _dump(json.loads(await client.raw("GET", info.path(where, name))), output)
        elif info.kind == "Service" and info.api_version == "serving.knative.dev/v1":
            stack = StackInfo.load(state_dir or default_state_dir())
            http_port = stack.http_port if stack else None
            _print_table(*await service_rows(client, where or None, name, http_port))
        else:
            accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
            table = json.loads(await client.raw("GET", info.path(where, name), accept=accept))
            _print_table(*table_rows(table, with_namespace=all_namespaces and info.namespaced))
            if info.kind == "Broker":
                _print_brokers_url(state_dir)

    with_client(state_dir, work)


def _print_brokers_url(state_dir: Path | None) -> None:
    """Addresses of Brokers are for programs inside; say where others send events to."""
    stack = StackInfo.load(state_dir or default_state_dir())
    if stack is not None and stack.brokers_host:
        url = f"http://{stack.brokers_host}:{stack.http_port}/NAMESPACE/BROKER"
        err.print(f"from outside of the stack: {url}", markup=False)


@app.command()
def describe(kind: str, name: str, *, namespace: Namespace = "default", state_dir: StateDir = None) -> None:
    """Show one object with its conditions and events."""

    async def work(client: Client) -> None:
        info = (await Kinds.discover(client)).named(kind)
        for line in await describe_lines(client, info.path(namespace, name), namespace, name):
            out.print(line, markup=False)

    with_client(state_dir, work)


@app.command()
def delete(
    kind: Annotated[str | None, typer.Argument(help="Kind of the object.")] = None,
    name: Annotated[str | None, typer.Argument(help="Name of the object.")] = None,
    *,
    file: Annotated[list[Path] | None, typer.Option("--file", "-f", help="Delete what these manifests name.")] = None,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """Delete objects; what belongs to them goes with them."""
    if (kind is None or name is None) == (not file):
        raise typer.BadParameter("expected KIND NAME, or --file")

    async def work(client: Client) -> None:
        kinds = await Kinds.discover(client)
        if file:
            manifests = [manifest for path in file for manifest in load(path)]
            named = [(kinds.of(m["apiVersion"], m["kind"]), m["metadata"]) for m in manifests]
            targets = [(i, meta.get("namespace", namespace), meta["name"]) for i, meta in named]
        else:
            targets = [(kinds.named(kind or ""), namespace, name or "")]
        missing = []
        for info, where, target in targets:
            options = json.dumps({"propagationPolicy": "Background"}).encode()
            try:
                await client.raw("DELETE", info.path(where, target), body=options)
            except NotFound as error:  # the others go nevertheless
                missing.append(error.message)
            else:
                out.print(f"{info.kind.lower()}/{target} deleted")
        if missing:
            raise Failure("; ".join(missing))

    with_client(state_dir, work)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="A pod, a revision or a service.")],
    *,
    container: Annotated[str, typer.Option("--container", "-c")] = "user-container",
    tail: Annotated[int, typer.Option(min=0, help="Lines from the end of each log.")] = 100,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """Print the logs of a pod, or of all pods of a revision or service."""

    async def work(client: Client) -> None:
        pods = (await client.list(Pod, namespace)).items
        labels = ("serving.knative.dev/revision", "serving.knative.dev/service", "app")
        chosen = [p for p in pods if p.name == name or name in (p.metadata.labels.get(label) for label in labels)]
        if not chosen:
            raise Failure(f'no pod in namespace "{namespace}" belongs to "{name}"; a service at zero has none')
        for pod in chosen:
            containers = [c.name for c in pod.spec.containers]
            shown = container if container in containers else containers[0]
            params = {"container": shown, "tailLines": str(tail)}
            text = await client.raw("GET", pod.RESOURCE.path(namespace, pod.name, "log"), params=params)
            prefix = f"{pod.name}: " if len(chosen) > 1 else ""
            for line in text.decode("utf-8", "replace").splitlines():
                out.print(prefix + line, markup=False)

    with_client(state_dir, work)


app.command("simulate")(simulate_command)
app.command("lab", context_settings=ANY_ARGUMENTS)(lab)


def with_client(state_dir: Path | None, work: Callable[[Client], Awaitable[None]]) -> None:
    """Do `work` with a client of the stack's API; whatever is wrong is told in a line, and ends the command."""

    async def run() -> None:
        config = ApiConfig.from_kubeconfig(kubeconfig_path(state_dir))
        async with Client(config, user_agent="knuv-cli") as client:
            await work(client)

    try:
        asyncio.run(run())
    except ConfigError as error:
        err.print(f"knuv: {error}. Is the stack up (`knuv up`)? Another one is named by --state-dir.", markup=False)
        raise typer.Exit(EXIT_USAGE) from None
    except ApiUnreachable as error:
        err.print(f"knuv: the API does not answer: {error}. Is the stack up (`knuv up`)?", markup=False)
        raise typer.Exit(EXIT_USAGE) from None
    except (ApiError, ManifestError, Failure) as error:
        text = error.message if isinstance(error, ApiError) else str(error)
        err.print(f"knuv: {text}", markup=False)
        raise typer.Exit(1) from None


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    if not rows:
        err.print("No resources found.")
        return
    # Columns as kubectl prints them: never cut, so that they can be copied and piped.
    cells = [[column.upper() for column in columns], *rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        out.print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), markup=False)


def _dump(data: Any, output: str) -> None:
    if output == "json":
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    else:
        sys.stdout.write(yaml.safe_dump(data, sort_keys=False))
