"""What can be switched on beside the controllers: reconcilers that are programs of their own in the original.

`KNUV_CONTROLLERS` names them (`controller.together`); one that is not named costs nothing. An add-on follows one kind
in one loop while it holds a Lease of its own. Its ConfigMaps are read at start, where a wrong one ends it, and at each
change, where the last good ones stay.
"""

import abc
import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from controller.collection import Collection
from controller.config import Config
from controller.leading import Leading
from controller.live_settings import LiveSettings
from controller.process_metrics import ProcessMetrics
from kube.autoscaling.config import InvalidConfig
from kube.client import Client
from kube.errors import ApiUnreachable, NotFound
from kube.events import EventRecorder
from kube.models.core import ConfigMap
from kube.reconcile import Loop
from proxies.environment import ConfigError
from proxies.logs import Logger

__all__ = ["AddOn"]

Key = tuple[str, str]

_WORKERS = 8


class AddOn(abc.ABC):
    """One of them. `start` returns when it follows the cluster, and acts if nobody else does.

    Raises `ConfigError` when a ConfigMap cannot be used, or a kind is not installed. `name` is also the Lease's, after
    `knuv-`; `config_maps` are those that `read_settings` is given; `metrics` are those of the process, if others run in
    it.
    """

    def __init__(
        self,
        config: Config,
        *,
        name: str,
        config_maps: Iterable[str],
        log: Logger | None = None,
        metrics: ProcessMetrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        fields = {"pod": config.pod_name} if config.pod_name else {}
        self.config = config
        self.client = Client(config.api, user_agent=f"knuv-{name}")
        self.log = log or Logger(name, fields=fields)
        self.now_s = clock
        self.events = EventRecorder(self.client, component=name, clock=clock, host=config.pod_name, log=self.log)
        self.loop: Loop[Key] = Loop(name, self._while_leading, workers=_WORKERS, forgets=True, log=self.log)
        self._name = name
        self._metrics = metrics or ProcessMetrics()
        self._maps = Collection(self.client, ConfigMap, namespace=config.system_namespace)
        self._live = LiveSettings(
            self._maps,
            namespace=config.system_namespace,
            names=config_maps,
            read=self.read_settings,
            log=self.log,
        )
        self._live.on_change(self.consider_all)
        self._leading = Leading(
            self.client,
            name=name,
            namespace=config.system_namespace,
            pod_name=config.pod_name,
            begin=self._start_acting,
            end=self._stop_acting,
            log=self.log,
        )

    # What each of them is.

    @abc.abstractmethod
    def collections(self) -> list[Collection[Any]]:
        """The kinds that are followed."""

    @abc.abstractmethod
    def looked_after(self) -> Collection[Any]:
        """The one of them that is followed in the loop."""

    @abc.abstractmethod
    def read_settings(self, maps: Mapping[str, Mapping[str, str]]) -> None:
        """Take over the ConfigMaps, by name; one that is not there is left out. Raises `InvalidConfig`."""

    @abc.abstractmethod
    def ours(self) -> Iterable[Key]:
        """All that is to be looked at."""

    @abc.abstractmethod
    async def reconcile(self, key: Key) -> float | None:
        """Look at one object; seconds after which it is wanted again, or None."""

    async def end_acting(self) -> None:  # noqa: B027 - most have nothing to end
        """Somebody else acts from now on: end what is under way beside the loop."""

    # Life.

    async def start(self) -> None:
        """Read the cluster, then act on it."""
        await self.client.open()
        await self._check_kinds()
        try:
            await self._live.start()
        except InvalidConfig as error:
            raise ConfigError([str(error)]) from error
        await asyncio.gather(*(collection.informer.start() for collection in self.collections()))
        await self.events.start()
        await self._metrics.start(
            self._name, self.config, self._maps, loops=[self.loop], kinds=[self.looked_after()], log=self.log
        )
        await self._leading.start(self._maps)
        self.log.info("add_on_started", add_on=self._name)

    async def drain(self) -> None:
        """Stop acting. What was under way is found half done by whoever is next, and taken from there."""
        await self._leading.drain()

    async def stop(self) -> None:
        """End everything, in any state."""
        await self._leading.stop()
        await self._metrics.stop()
        await self.events.stop()
        await asyncio.gather(self._live.stop(), *(collection.informer.stop() for collection in self.collections()))
        await self.client.close()

    # Acting.

    def consider_all(self) -> None:
        """Look at everything."""
        for key in self.ours():
            self.loop.add(key)

    async def _while_leading(self, key: Key) -> float | None:
        # The clock is asked, not only the Lease's events: a process that was suspended must not act on.
        return await self.reconcile(key) if self._leading.is_acting() else None

    async def _start_acting(self) -> None:
        self.loop.start()
        self.consider_all()

    async def _stop_acting(self) -> None:
        await self.loop.stop()
        await self.end_acting()

    # Set-up.

    async def _check_kinds(self) -> None:
        """A kind that nobody has installed would be waited for without a word."""
        problems = []
        for collection in self.collections():
            resource = collection.kind.RESOURCE
            try:
                await self.client.raw("GET", resource.path(), params={"limit": "1"})
            except ApiUnreachable:
                return  # the informers wait for it
            except NotFound:
                problems.append(
                    f"KNUV_CONTROLLERS: {self._name} needs {resource.plural}.{resource.group} of version "
                    f"{resource.version}, and the API has none; install their CustomResourceDefinitions first"
                )
        if problems:
            raise ConfigError(problems)
