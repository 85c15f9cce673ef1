"""`docs/configuration.md`, written by the readers of the environment themselves.

Each program's reader runs on an environment that notes which variables are asked for, as what, and what stands in for
those that are absent. What a variable is for comes from the docstrings of the dataclasses that hold its value; `_WORDS`
has what no field says. `python -m tests.docs.reference` writes the page, and a test compares the two.
"""

import ast
import asyncio
import dataclasses
import inspect
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import MagicMock, patch

from kube.addresses import Address
from proxies.environment import ConfigError, Environment
from proxies.gotext import format_duration

__all__ = ["PACKAGES", "PAGE", "ROOT", "is_told_elsewhere", "render"]

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "configuration.md"
PACKAGES: Final = (
    "activator", "autoscaler", "broker", "controller", "eventing", "gateway", "kube", "proxies", "queue_proxy",
    "sources",
)  # fmt: skip

_TOLD_ELSEWHERE: Final = ("KNUV_METRICS_", "METRICS_PROMETHEUS_", "OTEL_")
_REQUIRED: Final = "**required**"
_WATCHED: Final = '{"resources": [{"gvr": {"Version": "v1", "Resource": "pods"}}]}'

_HEAD: Final = """# Configuration

Every variable that the programs read from their environment, once, at start. One that is wrong ends the start with a
line for each: its name, its text, what was expected. `KNUV_*` are ours, the others the originals'. What operators
change while programs run stays where Knative has it: in the ConfigMaps `config-autoscaler`, `config-network` and so on.

`METRICS_PROMETHEUS_*`, `OTEL_*` and `KNUV_METRICS_COMPAT` are told in [metrics.md](metrics.md). A *duration* is Go's,
such as `300ms` or `1m30s`. This page is made from the code by `make docs`.
"""

_SHARED: Final = (
    "CLUSTER_DOMAIN", "KNUV_SERVICE_RESOLUTION", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
)  # fmt: skip
"""Read by all that live on the Kubernetes API, in the same way; told once."""

_WORDS: Final = {
    "CLUSTER_DOMAIN": "Suffix of cluster host names.",
    "CONFIG_NATS_NAME": "The ConfigMap about NATS, which JetStreamBrokers and NatsJetStreamChannels need.",
    "HOSTNAME": "Stands in for `POD_NAME`.",
    "K_AUDIENCE": "Audience of the token that the sink is shown; empty: none is.",
    "K_CA_CERTS": "Authorities (PEM) to trust for the sink, besides those that are trusted anyway.",
    "K_CE_OVERRIDES": "JSON: extensions that every event gets.",
    "K_LEADER_ELECTION_CONFIG": "JSON: the Lease's durations.",
    "K_OIDC_SERVICE_ACCOUNT": "Service account whose token the sink is shown.",
    "K_SINK": "Where events go.",
    "K_SOURCE_CONFIG": "JSON: what to watch or consume, as the controller writes it.",
    "KNUV_CHANNELS": "What stands behind channels; see [channels.md](channels.md).",
    "KNUV_CONTROLLERS": "Which controllers run, by commas: `serving`, `eventing`, `cert-manager`, `gateway-api`.",
    "autoscaler POD_NAME": "With `POD_IP` this replica's identity.",
    "broker KNUV_DEBUG_ADDRESS": "Where `/debug/events` answers; unset: nowhere. Loopback only.",
    "KNUV_DEBUG_TOKEN": "Who asks there must show it; required with the address.",
    "KNUV_EARLY_FILTERS": "Leave out, before sending, subscribers whose Trigger does not want the event.",
    "KNUV_EVENTING_NAMESPACE": "Where the ConfigMaps of eventing are; `SYSTEM_NAMESPACE` by default without serving.",
    "KNUV_TAG_RESOLUTION": "Who finds the digest of a tag. `node` by default if `KNUV_SERVICE_RESOLUTION=endpoints`.",
    "KNUV_USER_PROTOCOL": "What the user container speaks; empty: what each request does.",
    "K_SINK_TIMEOUT": "Of each attempt to deliver an event, in whole seconds; anything else: none.",
    "KNUV_JETSTREAM_DEAD_LETTERS_AGE": "ISO 8601: how long dead letters are kept for a redrive.",
    "KNUV_JETSTREAM_DEAD_LETTERS_BYTES": "How many bytes of them NATS keeps; 0: none. Both when their stream is made.",
    "KNUV_JETSTREAM_DEDUPLICATION": "Which two events are one; see [jetstream.md](jetstream.md).",
    "KNUV_JOURNAL_BYTES_MAX": "Bytes of events that a channel keeps.",
    "KNUV_JOURNAL_DEAD_LETTERS_MAX": "Events that a channel keeps when nobody could be given them.",
    "KNUV_JOURNAL_DIR": "Where events are kept; required with `KNUV_CHANNELS=journal`.",
    "KNUV_JOURNAL_EVENTS_MAX": "Events that a channel keeps.",
    "KUBECONFIG": "The Kubernetes API; unset: the files and variables that Kubernetes gives to every pod.",
    "KUBERNETES_SERVICE_HOST": "The API in a pod, where there is no `KUBECONFIG`.",
    "KUBERNETES_SERVICE_PORT": "Its port.",
    "MAX_IDLE_CONNS": "Connections kept for the next event.",
    "MAX_IDLE_CONNS_PER_HOST": "The same, to one host.",
    "MAX_TTL": "Through how many Brokers an event may go.",
    "NAME": "Name of the source.",
    "NAMESPACE": "Namespace of the source.",
    "broker filter NAMESPACE": "Asked for as the original does, and of no use.",
    "broker dispatcher NAMESPACE": "Serve the channels of this namespace only; unset: all.",
    "OBSERVABILITY_CONFIG": "JSON of ConfigMap `config-observability`.",
    "PROFILING_PORT": "Port of profiles, when they are enabled.",
    "SINK_BINDING_SELECTION_MODE": "Which subjects SinkBindings tell.",
    "STATEFUL_CONTROLLER_ORDINAL": "A pod's name such as `autoscaler-0`: buckets by ordinal instead of by Lease.",
    "STATEFUL_SERVICE_NAME": "Needed for that: the Service of these pods.",
    "STATEFUL_SERVICE_PORT": "Its port.",
    "STATEFUL_SERVICE_PROTOCOL": "How stats are pushed to them.",
    "WEBHOOK_PORT": "Port of all addresses, unless `KNUV_WEBHOOK_ADDRESS` says where.",
}
"""What no field says, and what a field says too briefly."""

_ENDINGS: Final = {
    "_MIN_VERSION": "Least version of TLS offered: 1.2 or 1.3.",
    "_MAX_VERSION": "Highest version of TLS offered.",
    "_CIPHER_SUITES": "Suites of TLS 1.2, by Go's names, commas between; empty: OpenSSL's choice.",
    "_CURVE_PREFERENCES": "Curves, by Go's names; one alone is enforced, empty: OpenSSL's choice.",
}

_VALUES: Final = {
    "integer": "number",
    "bool": "boolean",
    "duration": "duration",
    "second": "seconds",
    "count": "number",
    "port": "port",
    "ip_address": "address",
    "address": "host:port",
    "loopback": "host:port",
    "socket_path": "path",
    "_protocol": "`http1` or `h2c`",
    "overrides": "JSON",
    "timing": "JSON",
    "checked": "JSON",
    "_texts": "JSON",
    "decode": "JSON",
    "probes": "JSON",
    "webhookconfig": "port",
}
"""A part of a parser's name -> what it takes; the first that fits."""

_OPENING: Final = ("KNUV_DEBUG_ADDRESS", "STATEFUL_CONTROLLER_ORDINAL")
"""Read as required once they are known to be there."""

_DEFAULTS: Final = {
    "CONFIG_NATS_NAME": "`config-nats`",
    "KNUV_EVENTING_NAMESPACE": "`knative-eventing`",
    "KNUV_USER_PROTOCOL": "",
    "WEBHOOK_PORT": "`8443`",
    "KNUV_CONTROLLERS": "`serving`",
    "KUBERNETES_SERVICE_PORT": "`443`",
    "K_LEADER_ELECTION_CONFIG": "",
    "KNUV_DEBUG_TOKEN": "",
    "KNUV_JOURNAL_DIR": "",
    "KUBECONFIG": "",
    "STATEFUL_SERVICE_NAME": "",
}
"""Of those that are read without a default, and of those that are required only where something else is set."""


class Program(NamedTuple):
    """One process: how it is run, and the readers that it calls."""

    command: str
    readers: tuple[Callable[[Mapping[str, str]], object], ...]
    given: Mapping[str, str] = {}
    """What opens readers that are shut otherwise, and what is required and has a form of its own."""


@dataclasses.dataclass(slots=True)
class _Variable:
    """What is known of one variable."""

    value: str = "text"
    default: object = ""
    is_required: bool = False


class _Noting(dict[str, str]):
    """An environment that remembers what it is asked for."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__(given)
        self.asked: dict[str, _Variable] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """A look at the mapping itself, past `Environment`."""
        self.asked.setdefault(name, _Variable())
        return super().get(name, default)

    def parsed(self, name: str, parse: Callable[[str], Any], default: Any, placeholder: Any) -> Any:
        """`Environment.parsed`: what is required and not given is made up."""
        variable = self.asked.setdefault(name, _Variable(default=default))
        if variable.value == "text":
            variable.value = _value(parse)
        variable.default = variable.default or default
        if name in self:
            variable.is_required |= default is None and name not in _OPENING
            return parse(self[name])
        if default is None:
            variable.is_required = True
            self[name] = _made_up(parse)
            return parse(self[name])
        return default


def render() -> str:
    """The page."""
    with tempfile.TemporaryDirectory() as scratch:
        programs = _programs(Path(scratch))
        activator = next(each for each in programs if each.command == "activator")
        shared = _table("All but `queue_proxy`", activator, lambda name: name in _SHARED)
        own = [_table(f"`python -m {each.command}`", each, lambda name: name not in _SHARED) for each in programs]
    return "\n".join((_HEAD, shared, *own))


def is_told_elsewhere(name: str) -> bool:
    """Whether `docs/metrics.md` tells of it."""
    return name.startswith(_TOLD_ELSEWHERE)


def _table(title: str, program: Program, is_wanted: Callable[[str], bool]) -> str:
    lines = [f"## {title}", "", "| variable | value | default | what for |", "|---|---|---|---|"]
    for name, variable, default in _read(program):
        if is_wanted(name) and not is_told_elsewhere(name):
            lines.append(f"| `{name}` | {variable.value} | {default} | {_meaning(name, program)} |")
    return "\n".join(lines) + "\n"


def _read(program: Program) -> Iterator[tuple[str, _Variable, str]]:
    """Name, facts and default of each variable, in the order of reading."""
    noting = _Noting(program.given)
    with (
        patch.object(Environment, "parsed", lambda _, *arguments: noting.parsed(*arguments)),
        patch.object(Environment, "finish"),  # there is no Kubernetes API, which is a problem to most of them
    ):
        configs = [reader(noting) for reader in program.readers]
    values = {name: text for config in configs for name, text in _field_values(config)}
    for name, variable in noting.asked.items():
        default = _text(variable.default) or ("" if name in noting else values.get(name, ""))
        if variable.value == "duration":
            default = format_duration(float(default))
        default = _DEFAULTS.get(name, f"`{default}`" if default else "")
        if name.endswith(("_MIN_VERSION", "_MAX_VERSION")):
            default = "`1.3`"
        yield name, variable, _REQUIRED if variable.is_required and name not in _DEFAULTS else default


def _made_up(parse: Callable[[str], Any]) -> str:
    for text in ("1", "127.0.0.1"):
        with suppress(ValueError):
            parse(text)
            return text
    raise AssertionError(f"give a value to what {parse.__qualname__} reads")


def _value(parse: Callable[[str], Any]) -> str:
    """What a parser takes, by its name."""
    name = parse.__qualname__.lower()
    if name.startswith("environment.choice"):
        return " or ".join(f"`{each}`" for each in inspect.getclosurevars(parse).nonlocals["choices"])
    return next((value for word, value in _VALUES.items() if word in name), "text")


def _text(value: object) -> str:
    """A default as somebody would write it; empty for what has no short form."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else ""
    return str(value) if isinstance(value, int | str | Address) else ""


def _field_values(config: object) -> Iterator[tuple[str, str]]:
    """Of each field whose docstring names one variable alone: that variable and the value that the field has."""
    if not dataclasses.is_dataclass(config):
        return
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        yield from _field_values(value)
        names = _NAME.findall(_docstrings(type(config).__module__).get((type(config).__name__, field.name), ""))
        if len(names) == 1 and not isinstance(value, bool):
            yield names[0], _text(value)


_NAME: Final = re.compile(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|KUBECONFIG)(?:=1)?`")


@cache
def _docstrings(module: str) -> Mapping[tuple[str, str], str]:
    """(Class, field) -> docstring, of one module."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    if not path.is_file():
        return {}
    found = {}
    for each in ast.parse(path.read_text()).body:
        if isinstance(each, ast.ClassDef):
            for field, text in zip(each.body, each.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(text, ast.Expr)
                    and isinstance(field.target, ast.Name)
                ):
                    assert isinstance(text.value, ast.Constant), "a docstring under a field"
                    found[each.name, field.target.id] = " ".join(str(text.value.value).split())
    return found


def _meaning(name: str, program: Program) -> str:
    for key in (f"{program.command} {name}", f"{program.command.split()[0]} {name}", name):
        if key in _WORDS:
            return _WORDS[key]
    for ending, words in _ENDINGS.items():
        if name.endswith(ending):
            return words
    texts = (text for module in _modules(program) for text in _docstrings(module).values())
    found = (_before_name(text) for text in texts if name in _NAME.findall(text))
    return next(filter(None, found), "")


def _modules(program: Program) -> list[str]:
    """Where its fields are: the program's own modules first, then what all share."""
    first = program.command.split()[0]
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in (first, "sources", "kube", "proxies")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def _before_name(text: str) -> str:
    """A docstring up to the name of its variable."""
    words = _NAME.split(text, maxsplit=1)[0].rstrip(" ,:;.")
    words = re.sub(r"(^|\. )None:", r"\1Unset:", words)
    return re.sub(r"\bNone:", "unset:", f"{words}.").replace("|", "\\|") if words else ""


def _programs(scratch: Path) -> tuple[Program, ...]:
    from activator.config import Config as ActivatorConfig
    from autoscaler.config import Config as AutoscalerConfig
    from broker.channel.in_memory import MemoryBackend
    from broker.channel.jetstream_direct import DirectSends
    from broker.channel.jetstream_process import JetStreamProcess
    from broker.channel.journal.backend import JournalBackend
    from broker.config import DISPATCHER, FILTER, INGRESS, JOB_SINK, Process
    from broker.config import Config as BrokerConfig
    from broker.dispatcher import DispatcherRole
    from broker.filter import FilterRole
    from broker.ingress import IngressRole
    from broker.job_sink import JobSinkRole
    from controller.config import Config as ControllerConfig
    from controller.config import WebhookConfig
    from controller.default_domain import DefaultDomainConfig
    from controller.eventing.config import EventingConfig
    from controller.together import make_controllers
    from gateway.config import Config as GatewayConfig
    from queue_proxy.config import Config as QueueProxyConfig
    from sources.apiserver import ApiServerConfig
    from sources.jetstream import JetStreamConfig
    from sources.ping import PingConfig

    for name in ("tls.crt", "tls.key"):
        (scratch / name).touch()
    debug = {"KNUV_DEBUG_ADDRESS": "127.0.0.1:0", "KNUV_DEBUG_TOKEN": "x"}

    def broker(process: Process) -> Callable[[Mapping[str, str]], object]:
        return lambda environ: BrokerConfig.from_env(environ, process)

    def backend(make: Callable[..., object]) -> Callable[[Mapping[str, str]], object]:
        """What a dispatcher's channels read, as they are made."""
        return lambda environ: make(MagicMock(), environ, MagicMock())

    def direct(environ: Mapping[str, str]) -> object:
        return DirectSends(MagicMock(), MagicMock(), MagicMock(), MagicMock(), environ)

    async def jetstream(environ: Mapping[str, str]) -> None:
        JetStreamProcess(MagicMock(), environ)

    def which(environ: Mapping[str, str]) -> None:
        with suppress(ConfigError):
            make_controllers(environ)

    def nats(environ: Mapping[str, str]) -> None:
        asyncio.run(jetstream(environ))

    return (
        Program("queue_proxy", (QueueProxyConfig.from_env,), {"KNUV_CERTIFICATES": str(scratch)}),
        Program("activator", (ActivatorConfig.from_env,), debug),
        Program(
            "autoscaler",
            (AutoscalerConfig.from_env,),
            {**debug, "STATEFUL_CONTROLLER_ORDINAL": "autoscaler-0", "STATEFUL_SERVICE_NAME": "autoscaler"},
        ),
        Program("controller", (which, ControllerConfig.from_env, EventingConfig.from_env), {"KNUV_CONTROLLERS": ""}),
        Program("controller webhook", (WebhookConfig.from_env,)),
        Program("controller default-domain", (lambda environ: DefaultDomainConfig.from_env(environ, ""),)),
        Program("gateway", (GatewayConfig.from_env,)),
        Program("broker ingress", (broker(INGRESS), IngressRole, nats), debug),
        Program("broker filter", (broker(FILTER), FilterRole, direct, nats), debug),
        Program(
            "broker dispatcher",
            (broker(DISPATCHER), DispatcherRole, backend(MemoryBackend), backend(JournalBackend), nats),
            {**debug, "KNUV_JOURNAL_DIR": str(scratch)},
        ),
        Program("broker job-sink", (broker(JOB_SINK), JobSinkRole)),
        Program("sources ping", (PingConfig.from_env,)),
        Program("sources apiserver", (ApiServerConfig.from_env,), {"K_SOURCE_CONFIG": _WATCHED}),
        Program("sources jetstream", (JetStreamConfig.from_env,), {"K_SOURCE_CONFIG": '{"stream": "x"}'}),
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(render())


if __name__ == "__main__":
    main()
