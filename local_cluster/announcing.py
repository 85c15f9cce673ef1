"""Whoever started the stack with Services (`knuv up --file`) is told when they can be asked, and when they fail."""

import asyncio
from collections.abc import Callable
from typing import Final

from kube.client import Client
from kube.informer import Informer
from kube.models.serving import Service
from proxies.logs import Logger

__all__ = ["Announcer", "service_url"]

_PATIENCE_S: Final = 30.0
"""Who waits longer for a Service wants to know why; the controller itself gives one up after ten minutes only."""


def service_url(service: Service, http_port: int | None) -> str:
    """Where people ask it: with the gateway's port on this machine, unless it is for the cluster alone."""
    url = service.status.url
    is_inside = url == (service.status.address or {}).get("url")
    return url if is_inside or http_port in (None, 80) or not url.startswith("http://") else f"{url}:{http_port}"


class Announcer:
    """Says once for each of the named Services that it is ready, or is not; after a while also that it still waits."""

    def __init__(
        self,
        client: Client,
        say: Callable[[str], None],
        http_port: int,
        keys: set[tuple[str, str]],
        log: Logger,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """`keys`: namespaces and names. `patience_s`: how long nothing is said of what is unknown."""
        self._say = say
        self._patience_s = patience_s
        self._timer: asyncio.TimerHandle | None = None
        self._http_port = http_port
        self._keys = keys
        self._told: dict[tuple[str, str], str] = {}
        self._services = Informer(client, Service, log=log)
        self._services.on_change(self._changed)

    async def start(self) -> None:
        """Begin to watch."""
        await self._services.start()
        self._timer = asyncio.get_running_loop().call_later(self._patience_s, self._tell_of_waiting)

    async def stop(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        await self._services.stop()

    def _changed(self, _old: Service | None, service: Service | None) -> None:
        if service is None or service.key not in self._keys:
            return
        ready = next((each for each in service.status.conditions if each.type == "Ready"), None)
        is_of_before = service.status.observed_generation != service.metadata.generation
        if ready is None or is_of_before or ready.status in ("Unknown", self._told.get(service.key)):
            return
        self._told[service.key] = ready.status
        if ready.status == "True":
            self._say(f"service/{service.name} ready at {service_url(service, self._http_port)}")
        else:
            self._say(f"service/{service.name} is not ready; {_hint(service)}")

    def _tell_of_waiting(self) -> None:
        for key in sorted(self._keys - self._told.keys()):
            service = self._services.get(*key)
            if service is not None:
                self._say(f"service/{service.name} is not ready yet; {_hint(service)}")


def _hint(service: Service) -> str:
    where = "" if service.namespace == "default" else f" -n {service.namespace}"
    return f"`knuv why {service.name}{where}` says why"
