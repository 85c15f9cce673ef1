"""The figures that stand for each component, and what the originals in Go took on a machine of the same kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from loadtests.report.records import Record, Row, amount

__all__ = ["SELECTED", "Selected", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """One line of the tables at the top of docs/performance.md and in README.md."""

    what: str
    lab: str
    scenario: str
    figure: str
    """A pattern, as `Record.find` takes it."""
    word: str
    """How to repeat it."""
    rival_figure: str = ""
    """Where the rival's value is a figure of its own in the same scenario."""
    rival: str = ""
    judged: str = ""
    """The figure that has the budget, where it is not this one."""
    original: str = ""
    """What Knative's own took, measured by the project once; empty: not measured."""
    is_in_readme: bool = True

    def rows(self, records: Mapping[str, Record]) -> tuple[Row, Row | None, Row] | None:
        """Our figure; the rival's row, if that is one of its own; the row with the budget. None: not measured."""
        record = records.get(self.lab)
        row = record.find(self.scenario, self.figure) if record else None
        if record is None or row is None:
            return None
        other = record.find(self.scenario, self.rival_figure) if self.rival_figure else None
        return row, other, record.find(self.scenario, self.judged or self.figure) or row


SELECTED: Final = (
    Selected(
        what="queue-proxy, CPU per small keep-alive request, everything on",
        lab="queue-proxy", scenario="get", figure="CPU per request", word="make bench",
        original="83-119 us",
    ),
    Selected(
        what="queue-proxy, the same with an id of its own in each request",
        lab="queue-proxy", scenario="get-unique", figure="CPU per request", word="make bench",
    ),
    Selected(
        what="queue-proxy, memory at 100 busy connections",
        lab="queue-proxy", scenario="memory", figure="RSS", word="make bench", original="27-37 MB",
    ),
    Selected(
        what="queue-proxy, exec to accepting port",
        lab="queue-proxy", scenario="start", figure="exec to accepting port", word="make bench", original="12 ms",
    ),
    Selected(
        what="queue-proxy, 1,000 requests/s to an app of 100 ms, p95",
        lab="queue-proxy", scenario="gate", figure="p95", word="make bench", is_in_readme=False,
    ),
    Selected(
        what="queue-proxy over HTTP/2, 4 connections with 25 streams, CPU per request",
        lab="queue-proxy-h2", scenario="streams", figure="CPU per request", word="make bench-queue-proxy-h2",
        original="114 us",
    ),
    Selected(
        what="queue-proxy, gRPC unary calls from h2load, CPU per call",
        lab="queue-proxy-h2", scenario="unary", figure="CPU per request", word="make bench-queue-proxy-h2",
    ),
    Selected(
        what="queue-proxy, gRPC unary calls through grpcio, which wakes a proxy for each message",
        lab="queue-proxy-h2", scenario="grpc-unary", figure="CPU per request", word="make bench-queue-proxy-h2",
    ),
    Selected(
        what="queue-proxy, TLS 1.3, CPU as a multiple of plaintext",
        lab="queue-proxy-h2", scenario="tls", figure="CPU in TLS, multiple of plaintext",
        word="make bench-queue-proxy-h2",
    ),
    Selected(
        what="cold start, request sent to first byte, median",
        lab="cold-start", scenario="total", figure="p50", word="make bench-coldstart",
    ),
    Selected(
        what="cold start, our share of it, median",
        lab="cold-start", scenario="our share", figure="p50", word="make bench-coldstart",
    ),
    Selected(
        what="cold start, our share of it, p95",
        lab="cold-start", scenario="our share", figure="p95", word="make bench-coldstart",
    ),
    Selected(
        what="activator, CPU per warm request, 10 pods",
        lab="activator", scenario="warm", figure="CPU per request", word="make bench-activator",
        rival_figure="CPU per request, nginx", rival="nginx", judged="CPU per request, multiple of nginx",
        original="82-87 us",
    ),
    Selected(
        what="activator, memory with 1,000 revisions",
        lab="activator", scenario="memory", figure="* revisions known, RSS", word="make bench-activator",
        original="75-90 MB, with ten pods",
    ),
    Selected(
        what="autoscaler, 500 revisions asked and decided each second",
        lab="autoscaler", scenario="scraped", figure="* pods, CPU", word="make bench-autoscaler",
        original="56-78 ms/s",
    ),
    Selected(
        what="autoscaler, 10,000 revisions decided every 2 s",
        lab="autoscaler", scenario="tick", figure="* revisions, cores", word="make bench-autoscaler",
    ),
    Selected(
        what="autoscaler, a first request's stat to the patch of the scale, p95",
        lab="autoscaler", scenario="scraped", figure="stat to patch, 95th percentile", word="make bench-autoscaler",
    ),
    Selected(
        what="broker ingress, CPU per event",
        lab="broker", scenario="ingress", figure="accepting channel, CPU per event", word="make bench-broker",
        rival_figure="the same through nginx", rival="nginx", original="160 us",
    ),
    Selected(
        what="broker filter, CPU per event",
        lab="broker", scenario="filter", figure="match, CPU per event", word="make bench-broker",
        rival_figure="the same through nginx", rival="nginx", original="151 us",
    ),
    Selected(
        what="broker dispatcher, CPU per event, in memory",
        lab="broker", scenario="dispatch", figure="in memory, CPU per event", word="make bench-broker",
        rival_figure="the same through nginx", rival="nginx", original="146 us",
    ),
    Selected(
        what="an event the whole way, in memory, sender and sink included",
        lab="broker", scenario="path", figure="one event (*", word="make bench-broker",
        original="427 us (2,340 events/s on two cores)",
    ),
    Selected(
        what="gateway, an Ingress ready among 2,000, median",
        lab="gateway", scenario="", figure="ready after apply among *: median", word="make bench-gateway",
    ),
    Selected(
        what="`knuv up` to ready",
        lab="apiserver", scenario="stack", figure="knuv up to ready", word="make bench-apiserver",
    ),
    Selected(
        what="all Python processes of an idle local stack",
        lab="apiserver", scenario="stack", figure="Python processes, shared pages once", word="make bench-apiserver",
        is_in_readme=False,
    ),
)  # fmt: skip


def table(records: Mapping[str, Record], *, is_for_readme: bool = False) -> str:
    """The selected figures as a Markdown table; what was not measured is named as such."""
    lines = [
        "| what | figure | in the same run | budget | Go original | repeat it |",
        "|---|---|---|---|---|---|",
    ]
    for each in SELECTED:
        if is_for_readme and not each.is_in_readme:
            continue
        found = each.rows(records)
        if found is None:
            cells = ["not measured", "", ""]
        else:
            row, other, judged = found
            cells = [amount(row.value, row.unit), _beside(each, row, other), _judged(judged)]
        lines.append(f"| {each.what} | {' | '.join(cells)} | {each.original} | `{each.word}` |")
    return "\n".join(lines)


def _beside(each: Selected, row: Row, other: Row | None) -> str:
    name, value = (each.rival, other.value) if other else (row.rival, row.rival_value)
    if not value:
        return ""
    return f"{name} {amount(value, row.unit)}, ratio {row.value / value:.2f}"


def _judged(row: Row) -> str:
    if not row.budget:
        return ""
    return f"{row.budget}: {row.verdict if row.verdict == 'met' else f'**{row.verdict}**'}"
