"""A listening socket whose connections are in TLS, with handshakes that are counted and can be ended.

The event loop's own TLS server tells a protocol of its connection behind the handshake, and of one that fails it tells
nobody: those that stall would take file descriptors that no limit knows of. Here each has a task until the protocol
has its connection.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxies.tls_reads import SecureReads

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["TlsListener"]

_HANDSHAKE_S: Final = 10.0
"""For as long Go's clients wait for one (`net/http`); who takes longer is stalling."""
_ACCEPTS_MAX: Final = 64
"""In one turn of the loop: others have their turn, too."""
_RETRY_S: Final = 1.0
"""As asyncio's servers wait when the system has no room."""


class TlsListener:
    """Accepts from `start` to `pause`, any number of times, until `stop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        context: "SSLContext",
        accept: Callable[[], asyncio.Protocol],
        changed: Callable[[], None],
    ) -> None:
        """`sock` listens, and is closed by `stop`. `accept` makes the protocol of a connection.

        `changed` is called when a handshake has begun or is over.
        """
        self._loop = loop
        self._sock = sock
        self._context = context
        self._accept = accept
        self._changed = changed
        self._is_accepting = False
        self._retry: asyncio.TimerHandle | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    @property
    def handshakes(self) -> int:
        """How many are under way."""
        return len(self._handshakes)

    def start(self) -> None:
        """Accept."""
        self._is_accepting = True
        self._loop.add_reader(self._sock, self._knocked)

    def pause(self) -> None:
        """Accept no more for now; handshakes go on."""
        self._is_accepting = False
        self._loop.remove_reader(self._sock)
        if self._retry is not None:
            self._retry.cancel()

    def stop(self) -> None:
        """Listen no more, and close the connections whose handshake is under way."""
        self.pause()
        self._sock.close()
        for task in self._handshakes:
            task.cancel()

    def _knocked(self) -> None:
        for _ in range(_ACCEPTS_MAX):
            if not self._is_accepting:
                return
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # At most once a second; the limit of connections keeps it from happening at all.
                text = f"cannot accept on {self._sock.getsockname()}, tried again in {_RETRY_S:g} s"
                self._loop.call_exception_handler({"message": text, "exception": error})
                self.pause()
                self._retry = self._loop.call_later(_RETRY_S, self.start)
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._shake_hands(sock))
            self._handshakes.add(task)
            task.add_done_callback(self._ended)
            self._changed()

    async def _shake_hands(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: SecureReads(self._accept()), sock, ssl=self._context, ssl_handshake_timeout=_HANDSHAKE_S
            )
        except OSError:
            # A stranger, a scanner, a client of another time: nothing that anybody here could act upon.
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._handshakes.discard(task)
        self._changed()
