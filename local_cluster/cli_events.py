"""`knuv events`: send events, see them pass, ask what became of one, and deliver again what could not be."""

import asyncio
import json
import math
import secrets
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from eventing.destinations import DestinationError
from eventing.event import Event, EventError, event_from
from eventing.sending import Sender
from eventing.values import Value
from kube.client import Client
from kube.informer import Informer
from kube.models.eventing import Trigger
from kube.models.messaging import Channel, Subscription
from local_cluster.cli import Failure, Namespace, StateDir, err, out, with_client
from local_cluster.event_debugging import ask, debugged
from local_cluster.event_keepers import keepers_of_subscription, keepers_of_trigger
from local_cluster.event_listener import ListenError, listening, listening_in_pod
from local_cluster.event_posting import Posted, post_all
from local_cluster.event_routes import KINDS, StackResolver, url_of
from local_cluster.event_views import event_json, event_lines, journey_lines, printable
from local_cluster.settings import StackInfo, default_state_dir

__all__ = ["events"]

events = typer.Typer(
    name="events", help="Send events, see them pass, and ask what became of them.", no_args_is_help=True
)

_READY_S = 30.0
_STDIN = "-"
_LOOPBACK = "127.0.0.1"
_FILE_BYTES_MAX = 64 << 20


@events.command()
def send(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="broker/NAME, channel/NAME, or an http(s) URL.")
    ] = "broker/default",
    *,
    type_: Annotated[str, typer.Option("--type", help="What happened.")] = "dev.knuv.event",
    source: Annotated[str, typer.Option(help="Where.")] = "/knuv/cli",
    id_: Annotated[str, typer.Option("--id", help="Of several events the beginning. Default: random.")] = "",
    subject: Annotated[str, typer.Option(help="To what.")] = "",
    extension: Annotated[list[str] | None, typer.Option("--extension", "-e", metavar="NAME=VALUE")] = None,
    data: Annotated[str, typer.Option("--data", "-d", help="The data as text.")] = "",
    file: Annotated[str, typer.Option("--file", "-f", help="The data from a file; - is stdin.")] = "",
    event: Annotated[
        str,
        typer.Option("--event", help="A whole event as JSON, from a file; - is stdin. Options replace parts."),
    ] = "",
    content_type: Annotated[str, typer.Option(help="Of the data.")] = "application/json",
    structured: Annotated[bool, typer.Option("--structured", help="As JSON in one piece, not as headers.")] = False,
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many copies.")] = 1,
    rate: Annotated[float, typer.Option(min=0, help="Copies a second; 0: as fast as they are taken.")] = 0,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """Send an event, once or many times, and say how it was answered."""
    if sum(map(bool, (data, file))) > 1 or (event and (data or file)):
        raise typer.BadParameter("expected one of --data, --file and --event")
    if not math.isfinite(rate):
        raise typer.BadParameter("expected a number", param_hint="--rate")
    try:
        made = _read_event(event) if event else Event({}, None)
        given: dict[str, Value] = {"type": type_, "source": source} if not event else {}
        given |= {name: value for name, value in (("id", id_), ("subject", subject)) if value}
        given |= _extensions(extension or [])
        content = data.encode() if data else _read_bytes(file) if file else made.data
        if content is not None and not event:
            given["datacontenttype"] = content_type
        made = Event({"specversion": "1.0", **made.attributes, **given}, content)
    except EventError as error:
        raise typer.BadParameter(str(error)) from error

    async def work(client: Client) -> None:
        resolver = StackResolver(client, StackInfo.load(state_dir or default_state_dir()))
        async with _sender(resolver) as sender:
            url = await resolver.reachable(await url_of(client, target, namespace))
            try:
                posted = await post_all(sender, url, made, is_structured=structured, count=count, rate=rate)
            except* (EventError, DestinationError) as group:
                raise Failure(str(group.exceptions[0])) from None
        _report(posted, url, count)

    with_client(state_dir, work)


@events.command()
def tail(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="broker/NAME or channel/NAME.")] = "broker/default",
    *,
    type_: Annotated[str, typer.Option("--type", help="Only events of this type.")] = "",
    source: Annotated[str, typer.Option(help="Only events from here.")] = "",
    cesql: Annotated[str, typer.Option(help="Only events for which this expression is true.")] = "",
    count: Annotated[int, typer.Option(min=0, help="End after so many events; 0: when it is interrupted.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="A line of JSON for each event.")] = False,
    listen: Annotated[str, typer.Option(help="Address of this machine that the stack can reach.")] = _LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any.")] = 0,
    only_listen: Annotated[
        bool, typer.Option("--only-listen", help="Subscribe to nothing; print what is sent to the URL that is shown.")
    ] = False,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
) -> None:
    """Print events as they pass, through a Trigger or a Subscription that is there meanwhile."""
    kind, _, name = target.partition("/")
    if kind not in KINDS or not name:
        raise typer.BadParameter("expected broker/NAME or channel/NAME", param_hint="TARGET")
    filters: list[dict[str, Any]] = [{"exact": {"type": type_}}] if type_ else []
    filters += [{"exact": {"source": source}}] if source else []
    filters += [{"cesql": cesql}] if cesql else []
    if filters and kind == "channel":
        raise typer.BadParameter("a channel gives everybody everything: --type, --source and --cesql are a broker's")

    async def work(client: Client) -> None:
        stack = StackInfo.load(state_dir or default_state_dir())
        # Who names an address says that pods reach it.
        in_pod = listen == _LOOPBACK and stack is not None and stack.pods_have_networks
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        seen = 0

        def show(event: Event) -> None:
            nonlocal seen
            if over.is_set():
                return
            for line in [event_json(event)] if json_ else event_lines(event, time.time()):
                out.print(line, markup=False)
            seen += 1
            if seen == count:
                over.set()

        try:
            sink = listening_in_pod(client, namespace, show) if in_pod else listening(listen, port, show)
            async with sink as url:
                if only_listen:
                    _tell(f"listening at {url}")
                    await over.wait()
                    return
                async with _subscribed(client, kind, name, namespace, filters, url) as subscription:
                    _tell(f"{target} in namespace {namespace}, through {subscription}; Ctrl-C ends it")
                    await over.wait()
        except ListenError as error:
            raise Failure(str(error)) from error

    with_client(state_dir, work)


@events.command()
def trace(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Of the event.")],
    *,
    source: Annotated[str, typer.Option(help="Where it is from; ids are unique by their source only.")] = "",
    state_dir: StateDir = None,
) -> None:
    """Say what became of an event: accepted, matched or not, each attempt and its result."""
    query = {"id": event_id, **({"source": source} if source else {})}

    async def work() -> None:
        notes: list[dict[str, Any]] = []
        silent: list[Failure] = []
        components = debugged(state_dir)[1]
        for component in components:
            try:
                notes += await ask(state_dir, component, "GET", "/debug/events", query, "events")
            except Failure as error:  # the others can tell their part
                silent.append(error)
        if len(silent) == len(components):
            raise Failure(f"{silent[0]}; nobody could be asked: is the stack up (`knuv up`)?")
        for each in silent:
            _tell(f"knuv: {each}")
        if not notes:
            raise Failure(f'no event "{event_id}" passed the brokers of this stack lately')
        for line in journey_lines(notes):
            out.print(line, markup=False)

    _run(work)


@events.command()
def redrive(
    *,
    trigger: Annotated[str, typer.Option("--trigger", metavar="[NAMESPACE/]NAME", help="Whose dead letters.")] = "",
    subscription: Annotated[
        str, typer.Option("--subscription", metavar="[NAMESPACE/]NAME", help="The same, of a channel without a broker.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    state_dir: StateDir = None,
) -> None:
    """Deliver again what a subscriber did not take, and the stack's journal or stream has kept."""
    if bool(trigger) == bool(subscription):
        raise typer.BadParameter("expected one of --trigger and --subscription")
    where, _, name = (trigger or subscription).rpartition("/")
    namespace = where or "default"

    async def work(client: Client) -> None:
        keepers = await (keepers_of_trigger if trigger else keepers_of_subscription)(client, namespace, name)
        for keeper in keepers:
            query = {"subscription": keeper.uid}
            if not dry_run:
                count = await ask(state_dir, keeper.component, "POST", "/debug/redrive", query, "redriven")
                out.print(f"{namespace}/{name}: {count} sent again")
                continue
            letters = await ask(state_dir, keeper.component, "GET", "/debug/dead-letters", query, "dead_letters")
            for letter in letters:
                at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(letter["at"])))
                text = f"{at}  {letter['type']}  {letter['id']} from {letter['source']}: code {letter['code']}"
                out.print(printable(text).replace("\n", " "), markup=False)
            out.print(f"{namespace}/{name}: {len(letters)} kept")

    with_client(state_dir, work)


# Sending.


@asynccontextmanager
async def _sender(resolver: StackResolver) -> Any:
    sender = Sender(asyncio.get_running_loop(), resolver)
    try:
        yield sender
    finally:
        await sender.close()


def _read_event(path: str) -> Event:
    return event_from([(b"content-type", b"application/cloudevents+json")], _read_bytes(path))


def _read_bytes(path: str) -> bytes:
    try:
        with sys.stdin.buffer if path == _STDIN else Path(path).open("rb") as stream:
            content = stream.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error
    if len(content) > _FILE_BYTES_MAX:
        raise typer.BadParameter(f"{path}: larger than {_FILE_BYTES_MAX >> 20} MiB")
    return content


def _extensions(texts: Iterable[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not (name.isascii() and name.isalnum() and name == name.lower()):
            raise EventError(f"--extension {text!r}: expected name=value, the name of lower-case letters and digits")
        found[name] = value
    return found


def _report(posted: Posted, url: str, count: int) -> None:
    for answer, times in posted.answers.most_common():
        out.print(f"{times} x {printable(answer)}" if count > 1 else printable(answer), markup=False)
    if count > 1:
        rate = count / posted.took_s if posted.took_s else 0
        out.print(f"{posted.accepted} of {count} accepted in {posted.took_s:.2f} s ({rate:.0f} a second)")
    else:
        out.print(f"id {printable(posted.first_id)}", markup=False)
    if posted.accepted < count:
        raise Failure(f"{url} did not accept {'it' if count == 1 else f'{count - posted.accepted} events'}")


# Subscribing.


@asynccontextmanager
async def _subscribed(
    client: Client, kind: str, name: str, namespace: str, filters: list[dict[str, Any]], url: str
) -> Any:
    """A Trigger or a Subscription while the context lasts; what it is called. Raises `Failure` when it is not ready."""
    await url_of(client, f"{kind}/{name}", namespace)
    own = f"knuv-tail-{secrets.token_hex(4)}"
    if kind == "broker":
        shape: type[Trigger] | type[Subscription] = Trigger
        spec: dict[str, Any] = {
            "broker": name,
            "subscriber": {"uri": url},
            # What is on its way when we leave is nobody's loss: no dead letter of the broker's.
            "delivery": {"retry": 0},
            **({"filters": filters} if filters else {}),
        }
    else:
        shape = Subscription
        channel = {"apiVersion": Channel.RESOURCE.api_version, "kind": "Channel", "name": name}
        spec = {"channel": channel, "subscriber": {"uri": url}, "delivery": {"retry": 0}}
    info = shape.RESOURCE
    body = {"apiVersion": info.api_version, "kind": info.kind, "metadata": {"name": own}, "spec": spec}
    await client.raw("POST", info.path(namespace), body=json.dumps(body).encode())
    try:
        await _until_ready(client, shape, own, namespace)
        yield f"{info.kind} {own}"
    finally:
        await client.raw("DELETE", info.path(namespace, own))


async def _until_ready(client: Client, shape: type[Any], name: str, namespace: str) -> None:
    informer = Informer(client, shape, namespace=namespace, field_selector=f"metadata.name={name}")
    changed = asyncio.Event()
    informer.on_change(lambda _old, _new: changed.set())
    await informer.start()
    try:
        async with asyncio.timeout(_READY_S):
            while (found := informer.get(namespace, name)) is None or not found.status.is_ready():
                changed.clear()
                await changed.wait()
    except TimeoutError:
        found = informer.get(namespace, name)
        conditions = found.status.conditions if found is not None else []
        why = "; ".join(f"{each.type}: {each.message or each.reason}" for each in conditions if each.status != "True")
        raise Failure(f"not ready after {_READY_S:.0f} s: {why or 'nobody has looked at it'}") from None
    finally:
        await informer.stop()


def _run(work: Any) -> None:
    try:
        asyncio.run(work())
    except Failure as error:
        err.print(f"knuv: {error}", markup=False)
        raise typer.Exit(1) from None


def _tell(text: str) -> None:
    err.print(text, markup=False)
