"""Being scraped: a port with `/metrics` in Prometheus' text, over TLS where that is set.

Source: spec queue-proxy.md 3.1, 3.2, 17.1; knative.dev/pkg `observability/metrics/prometheus/server.go`, which all of
Knative's components share.
"""

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from proxies.environment import Environment
from proxies.exchange import Exchange
from proxies.messages import Answer
from proxies.metrics import exposition
from proxies.metrics.instruments import Registry
from proxies.metrics.slices import run_in_slices
from proxies.server import Server

if TYPE_CHECKING:
    import ssl

__all__ = ["Listener", "ScrapedPort", "Tls", "listener_of"]

_PORT_MIN: Final = 1024
_PORT_MAX: Final = 65535
_HEAD_TIMEOUT_S: Final = 5.0
"""Time to read a request's head."""
_TLS: Final = "METRICS_PROMETHEUS_TLS_"

_NOT_FOUND: Final = Answer.error(404, "404 page not found")
_BROKEN: Final = Answer.error(500, "the metrics cannot be written; the log says why")
_NOT_ALLOWED: Final = Answer(
    405,
    b"Method Not Allowed\n",
    content_type=b"text/plain; charset=utf-8",
    fields=((b"Allow", b"GET, HEAD"), (b"X-Content-Type-Options", b"nosniff")),
)


class Tls(NamedTuple):
    """TLS of the port: `METRICS_PROMETHEUS_TLS_*`."""

    cert_file: str
    key_file: str
    client_auth: str = "none"
    """`none`, `optional` or `require` a certificate of the scraper."""
    client_ca_file: str = ""
    """PEM file that those are verified with; set unless `client_auth` is `none`."""
    min_version: str = "1.3"
    max_version: str = "1.3"


class Listener(NamedTuple):
    """Where to be scraped."""

    host: str
    """Empty: where every other port of the process listens."""
    port: int
    tls: Tls | None = None


def listener_of(env: Environment, endpoint: str, *, endpoint_from: str, default_port: int) -> Listener:
    """Return `host:port` of `endpoint`, each part overridden by its variable where that is not empty.

    `endpoint` may be empty: all addresses, `default_port`. `endpoint_from` names it in problems, which `env` keeps.
    """
    host, port_text, source = "", str(default_port), "METRICS_PROMETHEUS_PORT"
    if endpoint:
        source = endpoint_from
        host, _, port_text = endpoint.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
    if override := env.text("METRICS_PROMETHEUS_PORT", ""):
        source, port_text = "METRICS_PROMETHEUS_PORT", override
    port = int(port_text) if port_text.isascii() and port_text.isdecimal() else 0
    if not _PORT_MIN <= port <= _PORT_MAX:
        env.refuse(f"{source}: expected a port from {_PORT_MIN} to {_PORT_MAX}, got {port_text!r}")
    return Listener(env.text("METRICS_PROMETHEUS_HOST", "") or host, port, _tls(env))


class ScrapedPort:
    """The port: `start` listens, `stop` lets a scrape finish and closes."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, registry: Registry, listener: Listener, *, bind_address: str = ""
    ) -> None:
        """`bind_address`: where to listen unless `listener` says; empty: all addresses."""
        self._server = Server(loop, _ScrapePolicy(loop, registry), head_timeout_s=_HEAD_TIMEOUT_S)
        self._host = listener.host or bind_address
        self._port = listener.port
        self._tls = listener.tls

    async def start(self) -> None:
        """Listen. Raises `OSError` when the port cannot be had or a certificate cannot be used."""
        await self._server.listen(self._host, self._port, tls=None if self._tls is None else _tls_context(self._tls))

    async def stop(self) -> None:
        """Listen no more."""
        await self._server.stop()


class _ScrapePolicy:
    """Answers scrapes with what a registry knows. Whoever asks while that is being written is given the same."""

    def __init__(self, loop: asyncio.AbstractEventLoop, registry: Registry) -> None:
        self._loop = loop
        self._registry = registry
        self._waiting: list[Exchange] = []
        self._is_writing = False

    def admit(self, exchange: Exchange) -> None:
        """`GET` and `HEAD` of `/metrics`."""
        request = exchange.request
        if request.target.partition(b"?")[0] != b"/metrics":
            exchange.answer(_NOT_FOUND)
        elif request.method not in (b"GET", b"HEAD"):
            exchange.answer(_NOT_ALLOWED)
        else:
            self._waiting.append(exchange)
            if not self._is_writing:
                self._is_writing = True
                steps = exposition.steps(self._registry)
                run_in_slices(self._loop, steps, done=self._written, failed=self._not_written)

    def cancelled(self, exchange: Exchange) -> None:
        """The scraper has gone."""
        if exchange in self._waiting:
            self._waiting.remove(exchange)

    def ended(self, exchange: Exchange) -> None:
        """Nothing was taken."""

    def _written(self, text: bytes) -> None:
        self._answer(Answer(200, text, content_type=exposition.CONTENT_TYPE))

    def _not_written(self) -> None:
        self._answer(_BROKEN)

    def _answer(self, answer: Answer) -> None:
        self._is_writing = False
        waiting, self._waiting = self._waiting, []
        for exchange in waiting:
            exchange.answer(answer)


def _tls(env: Environment) -> Tls | None:
    cert, key = (env.text(_TLS + name, "") for name in ("CERT", "KEY"))
    client_auth = env.text(_TLS + "CLIENT_AUTH", "").strip().lower() or "none"
    ca_file = env.text(_TLS + "CLIENT_CA_FILE", "").strip()
    least, most = (env.text(_TLS + name, "") or "1.3" for name in ("MIN_VERSION", "MAX_VERSION"))
    if bool(cert) != bool(key):
        env.refuse(f"{_TLS}CERT and {_TLS}KEY: expected both or neither")
    elif client_auth not in ("none", "optional", "require"):
        env.refuse(f"{_TLS}CLIENT_AUTH={client_auth!r}: expected none, optional or require")
    elif not cert and (client_auth != "none" or ca_file):
        env.refuse(f"{_TLS}CLIENT_AUTH and {_TLS}CLIENT_CA_FILE: expected {_TLS}CERT and {_TLS}KEY as well")
    elif client_auth != "none" and not ca_file:
        env.refuse(f"{_TLS}CLIENT_CA_FILE: expected a file, as {_TLS}CLIENT_AUTH is {client_auth}")
    if not cert:
        return None
    for name, version in (("MIN_VERSION", least), ("MAX_VERSION", most)):
        if version not in ("1.2", "1.3"):
            env.refuse(f"{_TLS}{name}={version!r}: expected 1.2 or 1.3")
    if (least, most) == ("1.3", "1.2"):
        env.refuse(f"{_TLS}MIN_VERSION: expected at most {_TLS}MAX_VERSION, which is 1.2")
    for name in ("CIPHER_SUITES", "CURVE_PREFERENCES"):
        if env.text(_TLS + name, ""):
            env.refuse(f"{_TLS}{name}: cannot be chosen here, leave it unset")
    return Tls(cert, key, client_auth, ca_file, least, most)


def _tls_context(tls: Tls) -> "ssl.SSLContext":
    """Raises `OSError` naming the variable whose file is wrong."""
    import ssl

    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = versions[tls.min_version]
    context.maximum_version = versions[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:
        raise OSError(f"{_TLS}CERT={tls.cert_file}, {_TLS}KEY={tls.key_file}: {error}") from error
    if tls.client_auth != "none":
        context.verify_mode = ssl.CERT_REQUIRED if tls.client_auth == "require" else ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(tls.client_ca_file)
        except OSError as error:
            raise OSError(f"{_TLS}CLIENT_CA_FILE={tls.client_ca_file}: {error}") from error
    return context
