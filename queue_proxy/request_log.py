"""The request log: one expansion of the operator's template on standard output for each request that has ended.

Loaded only where it is enabled. Source: spec queue-proxy.md 19; knative/serving `pkg/http/request_log.go`.
"""

from typing import Final

from proxies import fields
from proxies.exchange import Exchange
from proxies.gotemplate.template import RenderError, Template, TemplateError
from proxies.gotemplate.values import text_of
from proxies.headers import Edits
from proxies.logs import Logger
from proxies.stdout import StdoutLines
from queue_proxy.logged_request import LoggedExchange, LoggedRevision, is_probe
from queue_proxy.policy import APP_EDITS

__all__ = ["RequestLog", "compiled"]

_TELLING: Final = fields.KNATIVE | fields.PROBE_AGENT
"""A head with none of these marks is nobody's probe."""


class RequestLog:
    """A `queue_proxy.policy.Telemetry` that logs."""

    def __init__(
        self, template: Template, revision: LoggedRevision, output: StdoutLines, logger: Logger, *, logs_probes: bool
    ) -> None:
        """`logger` hears, once, why the template fails."""
        self._template = template
        self._revision = revision
        self._output = output
        self._logger = logger
        self._logs_probes = logs_probes
        self._has_failed = False

    # What the policy calls.

    def edits(self, exchange: Exchange) -> Edits:
        """Nothing is added to a request."""
        return APP_EDITS

    def ended(self, exchange: Exchange, now_s: float) -> None:
        """An exchange is over."""
        request = exchange.request
        if request.marks & _TELLING and not self._logs_probes and is_probe(request):
            return
        data = LoggedExchange(exchange, now_s, self._revision)
        try:
            line = self._template.render(data)
        except RenderError as error:
            line = self._failure(data, error)
        self._output.write(line.encode("utf-8", "surrogateescape"))

    probe_ended = ended

    # Inside.

    def _failure(self, data: LoggedExchange, error: RenderError) -> str:
        """The original's words for a template that cannot be applied to a request."""
        if not self._has_failed:
            self._has_failed = True
            self._logger.error("request_log_template_fails", problem=str(error), setting="logging.request-log-template")
        request, response = data.request, data.response
        return (
            f"Invalid request log template: method: {request.method}, response code: {response.code}, "
            f"latency: {text_of(response.latency_s)}, url: {request.target}\n"
        )


def compiled(text: str, logger: Logger) -> Template | None:
    """Return the template of `requestLogTemplate`; None where it is empty or no template, which `logger` hears."""
    if not text:
        return None
    try:
        return Template(text if text.endswith("\n") else text + "\n")
    except TemplateError as error:
        logger.error(
            "request_log_disabled",
            problem=str(error),
            remedy="correct logging.request-log-template in config-observability",
        )
        return None
