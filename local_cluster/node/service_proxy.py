"""ClusterIPs made reachable: a listener on every Service's address and port, relayed to a ready backend in turn."""

import asyncio
from collections.abc import Mapping
from typing import Any

from kube.client import Client
from kube.informer import Informer
from kube.models.core import Endpoints, Service
from local_cluster.node.relay import RelayServer
from local_cluster.node.services import ServiceTable
from proxies.logs import Logger

__all__ = ["ServiceProxy"]

_BACKLOG = 1024


class ServiceProxy:
    """Keeps the table of Services, and listens where they lead. `start`, then read `table`."""

    def __init__(self, client: Client, domain: str, *, log: Logger) -> None:
        self.table = ServiceTable(domain)
        self._log = log
        self._services = Informer(client, Service, log=log)
        self._endpoints = Informer(client, Endpoints, log=log)
        self._services.on_change(self._service_changed)
        self._endpoints.on_change(self._endpoints_changed)
        self._relays: dict[tuple[str, int], RelayServer] = {}
        self._leads_to: Mapping[tuple[str, int], tuple[tuple[str, str], str]] = {}
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what there is, and begin to listen."""
        await self._services.start()
        await self._endpoints.start()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="service-proxy")

    async def stop(self) -> None:
        """Stop listening; connections are cut."""
        await self._services.stop()
        await self._endpoints.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for relay in self._relays.values():
            relay.stop()

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        changed = new or old
        if changed is not None:
            self.table.set_service(changed.key, new)
            self._wanted.set()

    def _endpoints_changed(self, old: Endpoints | None, new: Endpoints | None) -> None:
        changed = new or old
        if changed is not None:
            self.table.set_endpoints(changed.key, new)

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._leads_to = self.table.listeners()
            for address in [address for address in self._relays if address not in self._leads_to]:
                self._relays.pop(address).stop()
            for address in list(self._leads_to):
                if address not in self._relays:
                    await self._listen(*address)

    async def _listen(self, host: str, port: int) -> None:
        relay = RelayServer(lambda: self._backend((host, port)))
        options: dict[str, Any] = {"host": host, "port": port, "backlog": _BACKLOG}
        try:
            await relay.start(**options)
        except OSError as error:
            self._log.error("service_not_reachable", address=f"{host}:{port}", error=str(error))
            return
        self._relays[host, port] = relay

    def _backend(self, address: tuple[str, int]) -> tuple[str, int] | None:
        target = self._leads_to.get(address)
        return None if target is None else self.table.backend(*target)
