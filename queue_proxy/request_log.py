"""queue-proxy's request log: a line on standard output for each request that has ended.

Loaded only where it is enabled. Source: spec queue-proxy.md 19; knative/serving `pkg/http/request_log.go`.
"""

from typing import Final

from proxies import fields, headers
from proxies.exchange import Exchange
from proxies.gotemplate.template import TemplateError
from proxies.headers import Edits
from proxies.logs import Logger
from proxies.messages import RequestHead
from proxies.request_log.line_writer import DEFAULT_TEMPLATE, LineWriter, template_of
from proxies.request_log.logged_exchange import LoggedExchange, LoggedHeader, LoggedRevision, Sight, is_probe, text
from proxies.stdout import StdoutLines
from queue_proxy.policy import APP_EDITS

__all__ = ["SIGHT", "RequestLog", "writer_of"]

_TELLING: Final = fields.KNATIVE | fields.PROBE_AGENT
"""A head with none of these marks is nobody's probe."""
_B3_TRACE_ID: Final = b"x-b3-traceid"
_TRACE_PARENT: Final = b"traceparent"


class RequestLog:
    """A `queue_proxy.policy.Telemetry` that logs."""

    def __init__(self, writer: LineWriter, revision: LoggedRevision, *, logs_probes: bool) -> None:
        self._writer = writer
        self._revision = revision
        self._logs_probes = logs_probes

    def edits(self, exchange: Exchange) -> Edits:
        """Nothing is added to a request."""
        return APP_EDITS

    def ended(self, exchange: Exchange, now_s: float) -> None:
        """An exchange is over."""
        request = exchange.request
        if request.marks & _TELLING and not self._logs_probes and is_probe(request):
            return
        self._writer.write(LoggedExchange(exchange, now_s, self._revision, SIGHT))

    probe_ended = ended


def writer_of(template: str | None, output: StdoutLines, logger: Logger) -> LineWriter | None:
    """Return who writes in `requestLogTemplate` (None: the default one); None where it is empty or no template.

    `logger` hears of the latter.
    """
    if template is None:
        template = DEFAULT_TEMPLATE
    if not template:
        return None
    try:
        return LineWriter(template_of(template), output, logger)
    except TemplateError as error:
        logger.error(
            "request_log_disabled",
            problem=str(error),
            remedy="correct logging.request-log-template in config-observability",
        )
        return None


def _edit(header: LoggedHeader, exchange: Exchange) -> None:
    """What is forwarded has lost `K-Original-Host` and gained `Forwarded`."""
    if not exchange.forwarded_s:
        return
    head = exchange.request
    if not is_probe(head):
        header.pop("K-Original-Host", None)
    if not head.get(headers.FORWARDED):
        forwarded = headers.forwarded_value(
            head.get(headers.FORWARDED_FOR), head.get(headers.FORWARDED_HOST), head.get(headers.FORWARDED_PROTO)
        )
        if forwarded:
            header["Forwarded"] = [text(forwarded)]


def _trace_id(request: RequestHead) -> str:
    """The second part of `traceparent`, else that of B3."""
    parts = request.get(_TRACE_PARENT).split(b"-")
    return text(parts[1] if len(parts) > 1 and parts[1] else request.get(_B3_TRACE_ID))


SIGHT: Final = Sight(_edit, _trace_id)
"""What queue-proxy's templates see."""
