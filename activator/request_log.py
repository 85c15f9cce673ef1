"""The activator's request log: a line on standard output for each request of a known revision that has ended.

Of `.Revision` the pod's name and address are empty, and so is `.TraceID`, as in the original. Loaded only where it is
enabled.

Source: spec activator.md 15; knative/serving `cmd/activator/request_log.go`.
"""

from typing import Final

from activator.active_revision import ActiveRevision
from proxies.exchange import Exchange
from proxies.logs import Logger
from proxies.messages import RequestHead
from proxies.request_log.line_writer import DEFAULT_TEMPLATE, LineWriter, template_of
from proxies.request_log.logged_exchange import LoggedExchange, LoggedHeader, LoggedRevision, Sight, text
from proxies.stdout import StdoutLines

__all__ = ["RequestLog"]


class RequestLog:
    """Writes in one template."""

    def __init__(self, template: str | None, output: StdoutLines, log: Logger) -> None:
        """`template`: `logging.request-log-template`; None: the default. Raises `ValueError` when it is none."""
        self._writer = LineWriter(template_of(DEFAULT_TEMPLATE if template is None else template), output, log)

    def ended(self, exchange: Exchange, revision: ActiveRevision | None, now_s: float) -> None:
        """An exchange is over; `revision`: None if it is not known, or sleeps on."""
        if revision is not None:
            self._writer.write(LoggedExchange(exchange, now_s, _logged(revision), _SIGHT))


def _logged(revision: ActiveRevision) -> LoggedRevision:
    names = revision.attributes
    return LoggedRevision(
        names["kn.revision.name"],
        names["k8s.namespace.name"],
        names["kn.service.name"],
        names["kn.configuration.name"],
        "",
        "",
    )


def _edit(header: LoggedHeader, exchange: Exchange) -> None:
    """What is forwarded names the activator, and the host that it was for."""
    header.pop("K-Network-Hash", None)
    if exchange.forwarded_s:
        header["K-Proxy-Request"] = ["activator"]
        if not header.first_of("K-Original-Host"):
            header["K-Original-Host"] = [text(exchange.request.host)]


def _no_trace_id(_request: RequestHead) -> str:
    return ""


_SIGHT: Final = Sight(_edit, _no_trace_id)
