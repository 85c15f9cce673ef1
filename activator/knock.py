"""Whether anybody listens at an address that refused a connection before: a connection, and nothing said on it.

A dead address may stay listed for long, and there may be many. To find them dead as ever takes a third of a probe: no
task, no transport, and on the same machine no turn of the loop either, as the kernel answers at once.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

__all__ = ["Knock"]


class Knock:
    """Connects once and closes. `done` is called with 0, or with the error's number, in a later turn of the loop."""

    __slots__ = ("_done", "_handle", "_loop", "_socket")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, host: str, port: int, *, timeout_s: float, done: Callable[[int], None]
    ) -> None:
        """`host`: an address; a name, which would have to be looked up, is answered `EADDRNOTAVAIL`."""
        self._loop = loop
        self._done = done
        self._handle: asyncio.Handle
        """Of what follows by itself: the result, or the end of the wait for it."""
        self._socket: socket.socket | None = None
        """While it is waited for."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.inet_pton(family, host)
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._handle = loop.call_soon(done, error.errno or errno.EADDRNOTAVAIL)
            return
        number = connection.connect_ex((host, port))
        if number == errno.EINPROGRESS:
            # The answer may be there already.
            number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not number:
                self._socket = connection
                loop.add_writer(connection, self._answered)
                self._handle = loop.call_later(timeout_s, self._end, errno.ETIMEDOUT)
                return
        connection.close()
        self._handle = loop.call_soon(done, number)

    def cancel(self) -> None:
        """Nobody wants to know any more: `done` is not called."""
        self._handle.cancel()
        self._close()

    def _answered(self) -> None:
        assert self._socket is not None
        self._handle.cancel()
        self._end(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _end(self, number: int) -> None:
        self._close()
        self._done(number)

    def _close(self) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
