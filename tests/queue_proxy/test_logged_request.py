"""What templates see of an exchange with the eyes of queue-proxy, and that they print what Go's templates print."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxies.exchange import Exchange, Outcome
from proxies.gotemplate.template import RenderError, Template, TemplateError
from proxies.heads import parse_request
from proxies.request_log.logged_exchange import LoggedExchange, LoggedRevision, is_probe
from queue_proxy.request_log import SIGHT

VECTORS = json.loads((Path(__file__).parent / "data" / "request_log_templates.json").read_text())
REVISION = LoggedRevision("hello-00001", "default", "hello", "hello-conf", "pod-1", "10.0.0.9")


def exchange_of(
    head: str, *, status: int = 200, forwarded_s: float = 1.0, responded_s: float = 1.0, peer: bytes = b"10.1.2.3"
) -> Exchange:
    """An exchange that arrived at 1 s and is complete."""
    exchange = Exchange(
        SimpleNamespace(peer_port=4567),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        parse_request(head.encode()),
        peer=peer,
        clock=lambda: 1.0,
        data=b"",
        body=None,
        request_done=True,
    )
    exchange.forwarded_s, exchange.responded_s = forwarded_s, responded_s
    exchange.status, exchange.outcome = status, Outcome.COMPLETE
    return exchange


def render(template: str, exchange: Exchange, *, now_s: float = 1.25) -> str:
    return Template(template).render(LoggedExchange(exchange, now_s, REVISION, SIGHT))


def printed(template: str, head: str, code: int, size: int, latency_s: float) -> tuple[str, str]:
    """(kind, text), as the vectors have them."""
    exchange = exchange_of(head, status=code)
    exchange.arrived_s = 0.0
    exchange._response_bytes = size
    try:
        text = render(template, exchange, now_s=latency_s)
    except TemplateError:
        return "syntax", ""
    except RenderError:
        return "failure", ""
    return "text", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def test_templates_print_what_gos_engine_prints() -> None:
    wrong: list[Any] = []
    for template, head, code, size, latency_s, kind, text in VECTORS["cases"]:
        got = printed(template, VECTORS["heads"][head], code, size, latency_s)
        # Go finds some mistakes only when it renders.
        if got != (kind, text) and (got[0], kind) != ("syntax", "failure"):
            wrong.append((template, VECTORS["heads"][head], kind, text, got))
    assert wrong == []
    assert len(VECTORS["cases"]) > 600


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "{{.Request.Method}} {{.Request.RequestURI}} {{.Request.URL}} {{.Request.Proto}}",
            "GET /a?b=c /a?b=c HTTP/1.1",
        ),
        ("{{.Request.Host}} {{.Request.RemoteAddr}} {{.Request.ContentLength}}", "h:80 10.1.2.3:4567 0"),
        ("{{.Response.Code}} {{.Response.Latency}}", "200 0.25"),
        ("{{.Revision.Name}} {{.Revision.Namespace}} {{.Revision.Service}}", "hello-00001 default hello"),
        ("{{.Revision.Configuration}} {{.Revision.PodName}} {{.Revision.PodIP}}", "hello-conf pod-1 10.0.0.9"),
        ("{{.Request.Header}}", "map[Forwarded:[host=x] X-Forwarded-Host:[x]]"),
    ],
)
def test_every_field(template: str, expected: str) -> None:
    head = "GET /a?b=c HTTP/1.1\r\nHost: h:80\r\nK-Original-Host: orig\r\nx-forwarded-host: x"
    assert render(template, exchange_of(head)) == expected


@pytest.mark.parametrize(("peer", "expected"), [(b"10.1.2.3", "10.1.2.3:4567"), (b"::1", "[::1]:4567"), (b"", "")])
def test_a_client_is_told_as_go_tells_it(peer: bytes, expected: str) -> None:
    assert render("{{.Request.RemoteAddr}}", exchange_of("GET / HTTP/1.1\r\nHost: h", peer=peer)) == expected


def test_what_was_not_forwarded_was_not_edited() -> None:
    exchange = exchange_of("GET / HTTP/1.1\r\nHost: h\r\nK-Original-Host: orig\r\nX-Forwarded-Host: x", forwarded_s=0.0)
    assert render("{{.Request.Header}}", exchange) == "map[K-Original-Host:[orig] X-Forwarded-Host:[x]]"


@pytest.mark.parametrize(
    ("lines", "trace_id"),
    [
        ("", ""),
        ("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("X-B3-TraceId: 80f198ee56343ba8", "80f198ee56343ba8"),
        ("traceparent: nonsense\r\nX-B3-TraceId: 80f1", "80f1"),
        ("traceparent: 00-4bf9-1-01\r\nX-B3-TraceId: 80f1", "4bf9"),
    ],
)
def test_the_trace_id_is_that_of_traceparent_else_that_of_b3(lines: str, trace_id: str) -> None:
    head = "GET / HTTP/1.1\r\nHost: h" + ("\r\n" + lines if lines else "")
    assert render("{{.TraceID}}", exchange_of(head)) == trace_id


@pytest.mark.parametrize(
    ("outcome", "status", "forwarded_s", "responded_s", "expected"),
    [
        (Outcome.COMPLETE, 404, 1.0, 1.1, "404 7"),
        (Outcome.ANSWERED, 503, 0.0, 0.0, "503 7"),
        (Outcome.UNREACHABLE, 502, 1.0, 0.0, "502 7"),
        (Outcome.TIMED_OUT, 504, 1.0, 0.0, "504 7"),
        (Outcome.TIMED_OUT, 200, 1.0, 1.1, "200 7"),
        (Outcome.ABORTED, 200, 1.0, 1.1, "500 0"),
        (Outcome.CLIENT_GONE, 200, 1.0, 1.1, "500 0"),
        (Outcome.CLIENT_GONE, 0, 1.0, 0.0, "200 0"),
        (Outcome.CLIENT_GONE, 0, 0.0, 0.0, "500 0"),
    ],
)
def test_code_and_size_by_how_an_exchange_ended(
    outcome: Outcome, status: int, forwarded_s: float, responded_s: float, expected: str
) -> None:
    exchange = exchange_of("GET / HTTP/1.1\r\nHost: h", status=status, forwarded_s=forwarded_s, responded_s=responded_s)
    exchange.outcome = outcome
    exchange._response_bytes = 7
    assert render("{{.Response.Code}} {{.Response.Size}}", exchange) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("User-Agent: kube-probe/1.34", True),
        ("K-Kubelet-Probe: x", True),
        ("K-Network-Probe: queue", True),
        ("User-Agent: Knative-Activator-Probe", False),
        ("User-Agent: curl/8", False),
    ],
)
def test_what_counts_as_a_probe(line: str, expected: bool) -> None:
    assert is_probe(parse_request(f"GET / HTTP/1.1\r\nHost: h\r\n{line}".encode())) is expected
