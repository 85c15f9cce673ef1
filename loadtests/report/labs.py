"""Which labs a report is made of, with which arguments, and the words about each.

Rounds and seconds are chosen so that all of it takes a quarter of an hour on two quiet cores; each budget is measured,
at its full size. A trial has hardly any time, and few Ingresses: it shows that everything runs.
"""

# ruff: noqa: E501 - Markdown, whose lines are as long as those of docs/

from dataclasses import dataclass
from typing import Final

__all__ = ["LABS", "Lab"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """One lab of the report."""

    name: str
    title: str
    arguments: tuple[str, ...]
    trial: tuple[str, ...]
    """Instead of `arguments`."""
    words: str
    """What is measured and how, in Markdown."""


LABS: Final = (
    Lab(
        name="queue-proxy",
        title="queue-proxy on HTTP/1.1",
        arguments=("--against", "nginx", "--rounds", "3", "--seconds", "1", "--duration", "6"),
        trial=("--against", "nginx", "--rounds", "1", "--seconds", "0.5", "--duration", "2"),
        words="""The proxy under test has one core to itself; load and app share one process on the other. Each round starts a fresh
proxy, warms it up and measures it, and rounds alternate between queue-proxy and nginx's `proxy_pass`. queue-proxy runs with every
feature on: breaker, timers, stats, request metrics, forwarded headers.

| scenario | question |
|---|---|
| `get` | small GET, 50 keep-alive connections |
| `get-unique` | the same, each request with an id of its own, as Envoy sends it |
| `post` | POST of 16 KiB, 50 keep-alive connections |
| `events` | 200 event streams opened at once, 10 events a second each |
| `events-spread` | the same, so that the proxy is woken for each single event |
| `memory`, `idle` | 100 busy connections; 1,000 that keep still |
| `start` | exec to accepting port |
| `gate` | 1,000 requests a second, open loop, to an app of 100 ms |
| `burst` | 5,000 connections at once, then a request on each |
| `bodies` | 1 GiB up, 1 GiB down: by how much memory grows |""",
    ),
    Lab(
        name="queue-proxy-h2",
        title="queue-proxy on HTTP/2 and gRPC",
        arguments=("--against", "nghttpx", "--rounds", "2", "--seconds", "1"),
        trial=("--against", "nghttpx", "--rounds", "1", "--seconds", "0.5"),
        words="""Made in the same way. The rival is nghttpx, nghttp2's proxy in C, with HTTP/2 on both sides. Load and app cost less than
any proxy where they can: h2load and nghttpd, or frames that are made beforehand. grpcio costs several times what the proxies cost, so
only their own CPU time counts there; and as it sends every message by itself, a proxy is woken for each, which is what its figure
consists of.

| scenario | question |
|---|---|
| `streams`, `connections` | small GET: 4 connections with 25 streams each; 50 with one |
| `grpc-unary`, `unary` | unary calls of 100 bytes: grpcio on both sides; h2load to nghttpd |
| `bidi`, `bidi-alone`, `grpc-bidi` | messages of 100 bytes to and fro: 100 streams, one, 100 with grpcio; an echo is two messages |
| `idle` | 1,000 connections that keep still |
| `tls` | small GET over HTTP/1.1 in plaintext and in TLS 1.3 |
| `tls-handshakes` | a connection for each request, with a session to resume and without |""",
    ),
    Lab(
        name="cold-start",
        title="Cold starts",
        arguments=("--cycles", "30", "--services", "8"),
        trial=("--cycles", "4", "--services", "4"),
        words="""A whole local stack. Each cycle takes a revision from zero pods to one and back: one request through the gateway, put
together from what the components log. Eight Services take turns; only one request is under way at a time. *Our share* is all but
spawning the process and the app's own boot.""",
    ),
    Lab(
        name="activator",
        title="activator",
        arguments=("--rounds", "2", "--seconds", "1"),
        trial=("--rounds", "1", "--seconds", "0.5"),
        words="""A real activator follows a real API server. It has one core to itself, and so has nginx with an upstream of the same ten
pods, in turn; API server, load and pods share a process on the other.

| scenario | question |
|---|---|
| `warm` | small GET, 50 keep-alive connections, 10 pods |
| `memory` | 1,000 revisions with a pod each |
| `probing` | 23 listed addresses where nobody listens |
| `held` | 10,000 requests that wait for the first pods, which take 100 each, or any number |
| `latency` | 1,000 requests a second, open loop, through activator and queue-proxy to an app of 100 ms |
| `balance` | requests in flight in each pod, averaged over time, the largest against the mean; [what is possible](budgets.md#what-balance-is-possible) |""",
    ),
    Lab(
        name="autoscaler",
        title="autoscaler",
        arguments=("--rounds", "1", "--seconds", "6"),
        trial=("--rounds", "1", "--seconds", "1"),
        words="""One real autoscaler process follows a real API server, asks pods that exist and is pushed stats over WebSockets. API server
and command are one process, pods and stat senders another. There is no rival to alternate with, so the budgets are absolute: CPU is
what the kernel charged to the autoscaler's threads; latencies are measured from outside (a stat sent, its patch admitted by the API
server), on cores that all share, and are upper bounds.

| scenario | question |
|---|---|
| `tick` | 10,000 revisions, the load of each pushed every second, each decided every 2 s |
| `decisions` | one decision, with windows of 60 s that are full, among 10,000 revisions |
| `stats` | 1,000 activators, each telling 20 revisions' load every second |
| `scraped` | 500 revisions of one pod, each asked every second |
| `scrapes` | 5,000 pods, four to a revision, each asked every second |""",
    ),
    Lab(
        name="broker",
        title="Broker and channels",
        arguments=("--rounds", "2", "--seconds", "1"),
        trial=("--rounds", "1", "--seconds", "0.5"),
        words="""Real processes follow a real API server; events have 1 KiB. For what one of them costs, it has a core of its own, and so has
nginx, which posts the same request on, as the measure of the machine. For the whole path all of them, sender and subscriber share
both cores.

| scenario | question |
|---|---|
| `ingress`, `filter`, `dispatch` | CPU per event: before a channel that accepts; with and without a match; in memory and with a journal |
| `path` | sender, ingress, channel, filter, subscriber: microseconds from one event to the next |
| `triggers` | the same with 1,000 Triggers, one of which wants the events |
| `jetstream` | NATS with a file store: a channel, and a Broker of class JetStreamBroker |
| `latency` | 200 events a second, from sending to the answer, which comes when the subscriber has answered |""",
    ),
    Lab(
        name="gateway",
        title="gateway",
        arguments=("--rounds", "5"),
        trial=("--routes", "200", "--start-routes", "400", "--rounds", "2"),
        words="""A real API server, a real gateway and a real Envoy, the latter two as processes of their own. Ingresses are shaped as Routes
make them, one public and three cluster-local names each; *ready* is what the Ingress's status says, after the gateway has asked
Envoy.""",
    ),
    Lab(
        name="apiserver",
        title="The local API server",
        arguments=("--rounds", "1", "--seconds", "5"),
        trial=("--rounds", "1", "--seconds", "1"),
        words="""One server process keeps 5,000 ConfigMaps of half a kilobyte; 200 watches follow them over TLS, 16 connections send merge
patches. Then whole stacks: `knuv up` to ready, thirty pod starts, memory of an idle stack. Memory of a stack is that of its Python
processes, with pages that several of them share counted once.

| scenario | question |
|---|---|
| `all` | every watch follows every object: 200 events for each write |
| `shares` | every watch follows 25 objects, by a label |
| `stack` | `knuv up` to ready, from a Deployment's patch to the process, memory |
| `stack-netns` | the same with a network for each pod (root) |""",
    ),
)
