"""Request log lines in an operator's template, one for each exchange.

Source: spec queue-proxy.md 19; knative/serving `pkg/http/request_log.go`.
"""

from typing import Final

from proxies.gotemplate.template import RenderError, Template
from proxies.gotemplate.values import text_of
from proxies.logs import Logger
from proxies.request_log.logged_exchange import LoggedExchange
from proxies.stdout import StdoutLines

__all__ = ["DEFAULT_TEMPLATE", "LineWriter", "template_of"]

DEFAULT_TEMPLATE: Final = (
    '{"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", '
    '"requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, "responseSize": "{{.Response.Size}}", '
    '"userAgent": "{{js .Request.UserAgent}}", "remoteIp": "{{js .Request.RemoteAddr}}", '
    '"serverIp": "{{.Revision.PodIP}}", "referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", '
    '"protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}"}\n'
)
"""One line of JSON in the fields of spec queue-proxy.md 19."""


def template_of(text: str) -> Template:
    """Return the template of `logging.request-log-template`, its newline appended. Raises `TemplateError`."""
    return Template(text if text.endswith("\n") else text + "\n")


class LineWriter:
    """Writes exchanges in one template."""

    __slots__ = ("_has_failed", "_logger", "_output", "_template")

    def __init__(self, template: Template, output: StdoutLines, logger: Logger) -> None:
        """`logger` hears, once, why the template fails."""
        self._template = template
        self._output = output
        self._logger = logger
        self._has_failed = False

    def write(self, data: LoggedExchange) -> None:
        """Write the line of one exchange."""
        try:
            line = self._template.render(data)
        except RenderError as error:
            line = self._failure(data, error)
        self._output.write(line.encode("utf-8", "surrogateescape"))

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
