"""The machine's ports of a stack that lives in a network of its own.

A socket belongs to the network namespace in which it was made. So these are bound before the stack enters its own, and
what comes in by them is relayed from there.
"""

import contextlib
import socket

from local_cluster.node.relay import RelayServer
from local_cluster.preparation import StackError, port_problem
from local_cluster.stack_config import StackConfig, info_of_before

__all__ = ["HostPort", "HostPorts"]


class HostPort:
    """One port of 127.0.0.1. `option` names it to the person who chose it. Raises `StackError` when it is taken.

    `before`: the one to try first when any will do.
    """

    def __init__(self, option: str, port: int, before: int = 0) -> None:
        self._socket = socket.socket()
        self._relay: RelayServer | None = None
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._bind(port, before)
        except OSError as error:
            self._socket.close()
            raise StackError(port_problem(option, port, error)) from error
        self.port: int = self._socket.getsockname()[1]

    def _bind(self, port: int, before: int) -> None:
        if port == 0 and before != 0:
            with contextlib.suppress(OSError):
                self._socket.bind(("127.0.0.1", before))
                return
        self._socket.bind(("127.0.0.1", port))

    async def lead_to(self, host: str, port: int) -> None:
        """Listen, and relay to an address of the stack's network."""
        self._relay = RelayServer(lambda: (host, port))
        await self._relay.start(sock=self._socket, backlog=1024)

    def close(self) -> None:
        """Stop."""
        if self._relay is not None:
            self._relay.stop()
        with contextlib.suppress(OSError):  # the relay's listener closed it
            self._socket.close()


class HostPorts:
    """The machine's ports of a stack in a network of its own. Raises `StackError` when one is taken."""

    def __init__(self, config: StackConfig) -> None:
        before = info_of_before(config)
        self.http = HostPort("--http-port", config.http_port, before.http_port)
        self.api = HostPort("--api-port", config.api_port, before.api_port)
        self.debug = HostPort("autoscaler", 0)

    def close(self) -> None:
        """Stop listening."""
        for port in (self.http, self.api, self.debug):
            port.close()
