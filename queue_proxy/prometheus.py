"""The port that is scraped: `/metrics` in Prometheus' text, over TLS where that is set.

Source: spec queue-proxy.md 3.1, 17.1; knative.dev/pkg `observability/metrics/prometheus/server.go`.
"""

from typing import TYPE_CHECKING, Final

from proxies.exchange import Exchange
from proxies.messages import Answer
from proxies.metrics import exposition
from proxies.metrics.instruments import Registry
from queue_proxy.observability import PrometheusTls

if TYPE_CHECKING:
    import ssl

__all__ = ["HEAD_TIMEOUT_S", "ScrapePolicy", "tls_context"]

HEAD_TIMEOUT_S: Final = 5.0
"""Time to read a request's head (spec queue-proxy.md 3.2)."""

_NOT_FOUND: Final = Answer.error(404, "404 page not found")
_NOT_ALLOWED: Final = Answer(
    405,
    b"Method Not Allowed\n",
    content_type=b"text/plain; charset=utf-8",
    fields=((b"Allow", b"GET, HEAD"), (b"X-Content-Type-Options", b"nosniff")),
)


class ScrapePolicy:
    """Answers scrapes with what a registry knows."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def admit(self, exchange: Exchange) -> None:
        """`GET` and `HEAD` of `/metrics`."""
        request = exchange.request
        if request.target.partition(b"?")[0] != b"/metrics":
            exchange.answer(_NOT_FOUND)
        elif request.method not in (b"GET", b"HEAD"):
            exchange.answer(_NOT_ALLOWED)
        else:
            exchange.answer(Answer(200, exposition.render(self._registry), content_type=exposition.CONTENT_TYPE))

    def cancelled(self, exchange: Exchange) -> None:
        """Nothing is held."""

    def ended(self, exchange: Exchange) -> None:
        """Nothing was taken."""


def tls_context(tls: PrometheusTls) -> "ssl.SSLContext":
    """Return what the port's certificate and rules say. Raises `OSError` naming the variable whose file is wrong."""
    import ssl

    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = versions[tls.min_version]
    context.maximum_version = versions[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:
        raise OSError(f"METRICS_PROMETHEUS_TLS_CERT={tls.cert_file}, METRICS_PROMETHEUS_TLS_KEY: {error}") from error
    if tls.client_auth != "none":
        context.verify_mode = ssl.CERT_REQUIRED if tls.client_auth == "require" else ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(tls.client_ca_file)
        except OSError as error:
            raise OSError(f"METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE={tls.client_ca_file}: {error}") from error
    return context
