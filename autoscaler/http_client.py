"""GET requests to many small endpoints, over one bounded set of kept connections.

Theory of operation. A pod is asked once a second, by one question at a time, so at most one idle connection is kept per
address; `_idle` holds them in the order in which they became idle. Open and opening connections together never exceed
`connections_max`: beyond it the connection that is idle for longest makes room, and where none is idle a question waits
for its turn. Every question has one deadline for all of it: waiting, connecting, the answer.

Answers are read as strictly as the proxies read them (`proxies.http1`), and no more of them is held than a question
asked for. A kept connection may be closed by its peer just when it is used again; a question that met this without
getting a byte is asked once more, over a connection of its own. Redirects are answers like others: nobody follows them.
"""

import asyncio
import os
from typing import Final, NamedTuple, TypeAlias, cast

from proxies.bodies import BodyReader, ChunkedBody, LengthBody, UntilCloseBody
from proxies.heads import response_head
from proxies.http1 import HttpError
from proxies.messages import ResponseHead
from proxies.timers import Timer, Timers

__all__ = ["Address", "Answer", "HttpClient", "NoAnswer", "get_request"]

Address: TypeAlias = tuple[str, int]
"""(IP address or name, port)."""

_HEAD_BYTES_MAX: Final = 16 << 10
_IDLE_S: Final = 90.0


class NoAnswer(Exception):
    """The endpoint could not be reached in time, or what it sent is not an HTTP response."""


class Answer(NamedTuple):
    """A response. `is_cut`: the body is longer than `body`, the rest was not read."""

    head: ResponseHead
    body: bytes
    is_cut: bool


def get_request(host: str, path: str, fields: dict[str, str]) -> bytes:
    """The bytes of a GET. `host` as it shall stand in `Host`; everything must be fit for a header line."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class HttpClient:
    """Makes questions and answers meet. Needs a running loop."""

    def __init__(self, *, connections_max: int, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connections_max = connections_max
        self._timeout_s = timeout_s
        self._timers = Timers(self._loop)
        self._connections: set[_Connection] = set()
        self._idle: dict[Address, _Connection] = {}
        self._waiting: dict[_Question, None] = {}
        self._dials: dict[asyncio.Task[None], _Question] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def connection_count(self) -> int:
        """Connections that are open or being opened."""
        return len(self._connections) + len(self._dials)

    def get(
        self, address: Address, request: bytes, *, body_bytes_max: int, keep: bool = True
    ) -> "asyncio.Future[Answer]":
        """Send `request` and return its answer to come, or `NoAnswer`. `keep` False: over a connection of its own.

        Of the body at most `body_bytes_max` bytes are read.
        """
        question = _Question(self, address, request, body_bytes_max, keep)
        if self._is_closed:
            question.fail("the client is closed")
            return question.answer
        self._timers.arm(question, self._timers.now_s() + self._timeout_s)
        connection = self._idle.pop(address, None) if keep else None
        if connection is not None and not connection.is_closing:
            connection.start(question)
        else:
            self.ask_anew(question)
        return question.answer

    async def close(self) -> None:
        """Close every connection; questions that are open are not answered any more."""
        self._is_closed = True
        self._timers.close()
        if self._sweep is not None:
            self._sweep.cancel()
        for question in list(self._waiting):
            question.fail("the client is closed")
        for dial in (dials := list(self._dials)):
            dial.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        for connection in list(self._connections):
            connection.abort("the client is closed")

    # What questions and connections call.

    def finish(self, question: "_Question") -> None:
        """The question is over, however it ended."""
        self._timers.disarm(question)
        self._waiting.pop(question, None)

    def opened(self, connection: "_Connection") -> None:
        """A connection is open."""
        self._connections.add(connection)

    def release(self, connection: "_Connection") -> None:
        """A connection is free: for whoever waits for its address or for any place, else to be kept."""
        question = self._next_waiting()
        if self._is_closed or connection.address in self._idle:
            connection.close()
        elif question is None:
            connection.idle_since_s = self._loop.time()
            self._idle[connection.address] = connection
            self._watch_idle()
        elif question.address == connection.address and question.keep:
            del self._waiting[question]
            connection.start(question)
        else:
            connection.close()  # `lost` then gives its place away

    def lost(self, connection: "_Connection") -> None:
        """A connection is closed; its place goes to whoever waits longest."""
        self._connections.discard(connection)
        if self._idle.get(connection.address) is connection:
            del self._idle[connection.address]
        self._place_is_free()

    def ask_anew(self, question: "_Question") -> None:
        """Ask over another connection, as soon as there is a place for it."""
        if self.connection_count >= self._connections_max:
            self._waiting[question] = None
            if self._idle:
                # Whoever waits longest gets its place, when it is closed.
                self._idle.pop(next(iter(self._idle))).close()
            return
        self._dial(question)

    # Inside.

    def _place_is_free(self) -> None:
        question = self._next_waiting()
        if question is not None and not self._is_closed and self.connection_count < self._connections_max:
            del self._waiting[question]
            self._dial(question)

    def _next_waiting(self) -> "_Question | None":
        """The question that waits longest and still wants its answer."""
        while (question := next(iter(self._waiting), None)) is not None and question.answer.done():
            del self._waiting[question]
        return question

    def _dial(self, question: "_Question") -> None:
        task = self._loop.create_task(self._connect(question))
        self._dials[task] = question
        question.dial = task
        task.add_done_callback(self._dialled)

    async def _connect(self, question: "_Question") -> None:
        try:
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self, question.address), *question.address
            )
        except OSError as error:
            question.fail(f"connect: {_reason(error)}")
            return
        question.dial = None
        if connection.is_closing:
            question.fail("connection closed before the request was sent")
        elif question.answer.done():
            self.release(connection)
        else:
            connection.start(question)

    def _dialled(self, task: asyncio.Task[None]) -> None:
        question = self._dials.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            question.fail(f"connect: {error!r}")
        self._place_is_free()

    def _watch_idle(self) -> None:
        if self._sweep is None:
            self._sweep = self._loop.call_later(_IDLE_S / 4, self._expire)

    def _expire(self) -> None:
        self._sweep = None
        oldest_s = self._loop.time() - _IDLE_S
        for address, connection in list(self._idle.items()):
            if connection.idle_since_s > oldest_s:
                break
            del self._idle[address]
            connection.close()
        if self._idle:
            self._watch_idle()


class _Question(Timer):
    """One request on its way. It may end (time-out, a caller that gave up) before its connection notices."""

    __slots__ = ("_client", "address", "answer", "body_bytes_max", "connection", "dial", "keep", "request")

    def __init__(self, client: HttpClient, address: Address, request: bytes, body_bytes_max: int, keep: bool) -> None:
        super().__init__()
        self._client = client
        self.address = address
        self.request = request
        self.body_bytes_max = body_bytes_max
        self.keep = keep
        self.answer: asyncio.Future[Answer] = client._loop.create_future()
        self.connection: _Connection | None = None
        self.dial: asyncio.Task[None] | None = None

    def succeed(self, answer: Answer) -> None:
        """Hand the answer to whoever still waits."""
        self._client.finish(self)
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, reason: str) -> None:
        """There will be no answer."""
        self._client.finish(self)
        if not self.answer.done():
            self.answer.set_exception(NoAnswer(f"{self.address[0]}:{self.address[1]}: {reason}"))

    def on_timer(self, now_s: float) -> None:
        """The time is up, in whatever state."""
        connection, dial = self.connection, self.dial
        self.fail(f"no answer within {self._client._timeout_s:g} s")
        if connection is not None:
            connection.abort("timed out")
        elif dial is not None:
            dial.cancel()


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection: asks one question at a time."""

    __slots__ = (
        "_body",
        "_chunks",
        "_client",
        "_has_bytes",
        "_head",
        "_is_reused",
        "_partial",
        "_question",
        "_size",
        "_transport",
        "address",
        "idle_since_s",
    )

    def __init__(self, client: HttpClient, address: Address) -> None:
        self.address = address
        self.idle_since_s = 0.0
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._question: _Question | None = None
        self._is_reused = False
        self._has_bytes = False
        self._partial = b""
        self._head: ResponseHead | None = None
        self._body: BodyReader
        self._chunks: list[bytes] = []
        self._size = 0

    # What the client calls.

    @property
    def is_closing(self) -> bool:
        """No other question can be asked here."""
        return self._transport is None or self._transport.is_closing()

    def start(self, question: _Question) -> None:
        """Ask."""
        assert self._transport is not None
        self._question = question
        question.connection = self
        self._has_bytes = False
        self._transport.write(question.request)

    def close(self) -> None:
        """Close a connection on which nothing is asked."""
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: str) -> None:
        """Cut it off, whatever it is doing."""
        question, self._question = self._question, None
        if question is not None:
            question.fail(reason)
        if self._transport is not None:
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = cast("asyncio.Transport", transport)
        self._client.opened(self)

    def data_received(self, data: bytes) -> None:
        question = self._question
        if question is None:
            self.abort("bytes that nobody asked for")
            return
        self._has_bytes = True
        if self._partial:
            data = self._partial + data
            self._partial = b""
        try:
            if self._head is None:
                self._take_head(question, data)
            else:
                self._take_body(question, self._head, data)
        except HttpError as error:
            self.abort(f"malformed response: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        question, self._question = self._question, None
        self._client.lost(self)
        if question is None:
            return
        question.connection = None
        head = self._head
        if head is not None and isinstance(self._body, UntilCloseBody) and error is None:
            question.succeed(Answer(head, b"".join(self._chunks), is_cut=False))
        elif self._is_reused and not self._has_bytes:
            self._client.ask_anew(question)
        else:
            question.fail(_reason(error) if isinstance(error, OSError) else "connection closed inside the answer")

    # Inside.

    def _take_head(self, question: _Question, data: bytes) -> None:
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > _HEAD_BYTES_MAX:
                if len(data) > _HEAD_BYTES_MAX:
                    raise HttpError(f"expected a head of at most {_HEAD_BYTES_MAX} bytes")
                self._partial = data
                return
            head = response_head(data[:end])
            data = data[end + 4 :]
            if head.status >= 200:
                break
            if head.status == 101:
                raise HttpError("expected no switch of protocols")
        length = 0 if head.status in (204, 304) else head.content_length
        if length == len(data) <= question.body_bytes_max:  # nearly always: all of it came at once
            self._finish(question, Answer(head, data, is_cut=False), keep=head.keep_alive)
            return
        self._head = head
        if length >= 0:
            self._body = LengthBody(length)
        else:
            self._body = ChunkedBody(keeps_spans=True) if head.is_chunked else UntilCloseBody()
        self._take_body(question, head, data)

    def _take_body(self, question: _Question, head: ResponseHead, data: bytes) -> None:
        if question.answer.done():
            self.abort("nobody waits for it")  # nor is more of it held, which may be much
            return
        body = self._body
        took = body.scan(data)
        chunks = [data[begin:end] for begin, end in body.spans] if isinstance(body, ChunkedBody) else [data[:took]]
        self._chunks += chunks
        self._size += sum(map(len, chunks))
        limit = question.body_bytes_max
        if self._size > limit:
            self._finish(question, Answer(head, b"".join(self._chunks)[:limit], is_cut=True), keep=False)
        elif body.is_done:
            keep = head.keep_alive and took == len(data)
            self._finish(question, Answer(head, b"".join(self._chunks), is_cut=False), keep=keep)
        else:
            self._partial = data[took:]

    def _finish(self, question: _Question, answer: Answer, *, keep: bool) -> None:
        self._question = question.connection = None
        self._head, self._chunks, self._size = None, [], 0
        self._is_reused = True
        question.succeed(answer)
        if keep and question.keep:
            self._client.release(self)
        else:
            self.close()


def _reason(error: OSError) -> str:
    # Errors of name resolution have negative numbers of their own.
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
