"""What a row of the tables says. The tables are data: bytes, and what has to become of them."""

from dataclasses import dataclass

__all__ = [
    "RequestCase",
    "ResponseCase",
    "Seen",
    "bad_gateway",
    "cut",
    "passed",
    "refused",
    "rejected",
    "relayed",
    "truncated",
]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the app must have got it."""

    target: bytes = b"/"
    method: bytes = b"GET"
    host: bytes = b"h"
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    has: tuple[bytes, ...] = ()
    """Header lines that are among the others, as `name: value` with the name in lower case."""
    lacks: tuple[bytes, ...] = ()
    """Header names, in lower case, that must have been left out."""


@dataclass(frozen=True, slots=True)
class RequestCase:
    """Bytes of a client, and what has to become of them."""

    name: str
    sent: bytes
    statuses: tuple[int, ...]
    """Of the responses that the client gets, in order."""
    seen: tuple[Seen, ...] = ()
    """Exactly the requests that the app gets."""
    closes: bool = False
    """The proxy ends the connection behind the last response."""
    hangs_up: bool = False
    """The client sends no more: what it announced never comes."""
    at_once: bool = False
    """Never sent in pieces: the answer does not wait for the body, and ends the connection when it is still to come."""


@dataclass(frozen=True, slots=True)
class ResponseCase:
    """Bytes of an app, and what the client has to see of them."""

    name: str
    reply: bytes
    status: int
    body: bytes = b""
    method: str = "GET"
    version: str = "1.1"
    """Of the client's HTTP."""
    informational: tuple[int, ...] = ()
    """Statuses below 200 that the client sees first."""
    has: tuple[bytes, ...] = ()
    """Header lines that are among the others, as `name: value` with the name in lower case."""
    lacks: tuple[bytes, ...] = ()
    """Header names, in lower case, that must have been left out."""
    is_whole: bool = True
    """The client can take the body for complete."""
    closes: bool = False
    """The proxy ends the client's connection."""
    drops_app: bool = True
    """The proxy never uses the app's connection again."""
    app_closes: bool = False
    """The app hangs up behind its reply."""


def refused(name: str, sent: bytes, status: int = 400) -> RequestCase:
    """The client is told so, the connection ends, the app hears nothing."""
    return RequestCase(name, sent, (status,), closes=True)


def passed(name: str, sent: bytes, *seen: Seen, closes: bool = False) -> RequestCase:
    """Unusual but good: the app gets `seen`, and each is answered with 200."""
    return RequestCase(name, sent, (200,) * len(seen), seen, closes=closes)


def rejected(name: str, sent: bytes, *seen: Seen, status: int = 400) -> RequestCase:
    """The app gets `seen`, and what follows them is refused."""
    return RequestCase(name, sent, (*(200,) * len(seen), status), seen, closes=True)


def truncated(name: str, sent: bytes, *seen: Seen) -> RequestCase:
    """The client leaves in the middle: nobody ever takes that for a whole request."""
    return RequestCase(name, sent, (200,) * len(seen), seen, closes=True, hangs_up=True)


def relayed(
    name: str,
    reply: bytes,
    body: bytes = b"",
    *,
    status: int = 200,
    method: str = "GET",
    version: str = "1.1",
    informational: tuple[int, ...] = (),
    has: tuple[bytes, ...] = (),
    lacks: tuple[bytes, ...] = (),
    closes: bool = False,
    drops_app: bool = False,
    app_closes: bool = False,
) -> ResponseCase:
    """The client gets a good response with `body`."""
    return ResponseCase(
        name,
        reply,
        status,
        body,
        method,
        version,
        informational,
        has,
        lacks,
        closes=closes,
        drops_app=drops_app or app_closes,
        app_closes=app_closes,
    )


def bad_gateway(
    name: str, reply: bytes, *, method: str = "GET", informational: tuple[int, ...] = (), app_closes: bool = False
) -> ResponseCase:
    """The client gets 502 and may go on; the app's connection is given up."""
    return ResponseCase(name, reply, 502, method=method, informational=informational, app_closes=app_closes)


def cut(name: str, reply: bytes, body: bytes = b"", *, app_closes: bool = False) -> ResponseCase:
    """The response had begun: the client gets no more than `body` and sees that it is not whole."""
    return ResponseCase(name, reply, 200, body, is_whole=False, closes=True, app_closes=app_closes)
