"""What a request log's template sees of one exchange: `.Request`, `.Response`, `.Revision`, `.TraceID`.

    .Request              .Method .URL .RequestURI .Host .Proto .ProtoMajor .ProtoMinor .RemoteAddr .ContentLength
                          .TransferEncoding .UserAgent .Referer .Header
    .Request.URL          .Path .RawQuery .RequestURI .String
    .Request.Header       a map of lists, with .Get "Name" and .Values "Name"
    .Response             .Code .Size .Latency
    .Revision             .Name .Namespace .Service .Configuration .PodName .PodIP

A service says what its headers look like in the end, and whether it tells the trace (`Sight`).

Source: spec queue-proxy.md 19, activator.md 15; Go `net/http` for the fields of a request.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

from proxies import headers
from proxies.exchange import Exchange, Outcome
from proxies.gotemplate.values import Map, Record
from proxies.messages import RequestHead

__all__ = ["LoggedExchange", "LoggedHeader", "LoggedRevision", "Sight", "is_probe", "text"]

_MAP_LEAVES_OUT: Final = frozenset([b"host", b"transfer-encoding", b"trailer"])
"""Go keeps these beside the map."""
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_Fields = Mapping[str, Callable[[Any], object]]
_Methods = Mapping[str, Callable[[Any, str], object]]


def is_probe(request: RequestHead) -> bool:
    """Whether the original leaves a request out of logs unless it shall log probes."""
    return bool(
        request.get(headers.PROBE)
        or request.get(headers.KUBELET_PROBE)
        or request.get(headers.USER_AGENT).startswith(headers.KUBELET_AGENT)
    )


class LoggedRevision(Record):
    """`.Revision`"""

    __slots__ = ("values",)
    go_type = "*http.RequestLogRevision"

    def __init__(self, *values: str) -> None:
        """`values`: in the order of the fields."""
        self.values = values

    go_fields: ClassVar[_Fields] = {
        "Name": lambda revision: revision.values[0],
        "Namespace": lambda revision: revision.values[1],
        "Service": lambda revision: revision.values[2],
        "Configuration": lambda revision: revision.values[3],
        "PodName": lambda revision: revision.values[4],
        "PodIP": lambda revision: revision.values[5],
    }


class Sight(NamedTuple):
    """What one service's templates see otherwise than another's."""

    edit: "Callable[[LoggedHeader, Exchange], None]"
    """Does to `.Request.Header` what the service does in place to those of a request."""
    trace_id: Callable[[RequestHead], str]


class LoggedExchange(Record):
    """`.`"""

    __slots__ = ("request", "response", "revision", "sight")
    go_type = "*http.RequestLogTemplateInput"

    def __init__(self, exchange: Exchange, now_s: float, revision: LoggedRevision, sight: Sight) -> None:
        """`now_s`: when it ended, monotonic."""
        self.request = _Request(exchange, sight)
        self.response = _Response(*_result(exchange), now_s - exchange.arrived_s)
        self.revision = revision
        self.sight = sight

    go_fields: ClassVar[_Fields] = {
        "Request": lambda data: data.request,
        "Response": lambda data: data.response,
        "Revision": lambda data: data.revision,
        "TraceID": lambda data: data.sight.trace_id(data.request.head),
    }


class _Response(Record):
    """`.Response`"""

    __slots__ = ("code", "latency_s", "size")
    go_type = "*http.RequestLogResponse"

    def __init__(self, code: int, size: int, latency_s: float) -> None:
        self.code = code
        self.size = size
        self.latency_s = latency_s

    go_fields: ClassVar[_Fields] = {
        "Code": lambda response: response.code,
        "Size": lambda response: response.size,
        "Latency": lambda response: response.latency_s,
    }


class _Url(Record):
    """`.Request.URL`"""

    __slots__ = ("target",)
    go_type = "*url.URL"

    def __init__(self, target: str) -> None:
        self.target = target

    @property
    def path(self) -> str:
        """Without escapes."""
        from urllib.parse import unquote

        return unquote(self.target.partition("?")[0], errors="surrogateescape")

    def go_string(self) -> str:
        """The request's target."""
        return self.target

    go_fields: ClassVar[_Fields] = {
        "Path": lambda url: url.path,
        "RawQuery": lambda url: url.target.partition("?")[2],
        "RequestURI": go_string,
        "String": go_string,
    }


class LoggedHeader(Map):
    """`.Request.Header`"""

    go_type = "http.Header"
    go_zero: ClassVar[object] = []

    def values_of(self, name: str) -> list[str]:
        """Every value of a header in any case."""
        found: list[str] = self.get(_canonical(name), [])
        return found

    def first_of(self, name: str) -> str:
        """The first value, or nothing."""
        values = self.values_of(name)
        return values[0] if values else ""

    go_methods: ClassVar[_Methods] = {"Get": first_of, "Values": values_of}


class _Request(Record):
    """`.Request`"""

    __slots__ = ("exchange", "head", "sight")
    go_type = "*http.Request"

    def __init__(self, exchange: Exchange, sight: Sight) -> None:
        self.exchange = exchange
        self.head = exchange.request
        self.sight = sight

    @property
    def method(self) -> str:
        """`.Method`"""
        return text(self.head.method)

    @property
    def target(self) -> str:
        """`.RequestURI`"""
        return text(self.head.target)

    @property
    def header(self) -> LoggedHeader:
        """The map, as the service has edited it in place."""
        found = LoggedHeader()
        for line in self.head.fields:
            if line.name not in _MAP_LEAVES_OUT:
                found.setdefault(_canonical(text(line.name)), []).append(text(line.value))
        self.sight.edit(found, self.exchange)
        return found

    @property
    def minor(self) -> int:
        """`.ProtoMinor`"""
        return self.head.minor if self.head.major == 1 else 0

    @property
    def remote_address(self) -> str:
        """`host:port`; empty where the client has neither."""
        exchange = self.exchange
        host = text(exchange.peer)
        return f"[{host}]:{exchange.peer_port}" if ":" in host else f"{host}:{exchange.peer_port}" if host else ""

    go_fields: ClassVar[_Fields] = {
        "Method": lambda request: request.method,
        "URL": lambda request: _Url(request.target),
        "RequestURI": lambda request: request.target,
        "Host": lambda request: text(request.head.host),
        "Proto": lambda request: f"HTTP/{request.head.major}.{request.minor}",
        "ProtoMajor": lambda request: request.head.major,
        "ProtoMinor": lambda request: request.minor,
        "RemoteAddr": lambda request: request.remote_address,
        "ContentLength": lambda request: request.head.content_length,
        "TransferEncoding": lambda request: ["chunked"] if request.head.is_chunked and request.head.major == 1 else [],
        "UserAgent": lambda request: text(request.head.get(headers.USER_AGENT)),
        "Referer": lambda request: text(request.head.get(b"referer")),
        "Header": lambda request: request.header,
    }


def _result(exchange: Exchange) -> tuple[int, int]:
    """Return `.Response.Code` and `.Response.Size`: of what was broken off 500 and 0, of no response at all 200."""
    outcome = exchange.outcome
    if exchange.responded_s and (outcome is Outcome.ABORTED or outcome is Outcome.CLIENT_GONE):
        return 500, 0
    if not exchange.status:
        return (200 if exchange.forwarded_s else 500), 0
    return exchange.status, exchange.response_bytes


def text(data: bytes) -> str:
    """Return what a header says; bytes that are no UTF-8 come out of a template as they are."""
    return data.decode("utf-8", "surrogateescape")


def _canonical(name: str) -> str:
    """Return a header's name in the case in which Go's maps have it."""
    if _TOKEN.fullmatch(name) is None:
        return name
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))
