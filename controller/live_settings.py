"""Settings that ConfigMaps hold: read at start, where a wrong one is an error, and at each change, where it is not."""

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from controller.collection import Collection
from kube.autoscaling.config import InvalidConfig
from kube.models.core import ConfigMap
from proxies.logs import Logger

__all__ = ["LiveSettings"]

T = TypeVar("T")


class LiveSettings(Generic[T]):
    """What `read` makes of the ConfigMaps `names` of a namespace: of their data by name, where one that is not there is
    left out. `read` raises `InvalidConfig`; then what was in force before stays.
    """

    def __init__(
        self,
        maps: Collection[ConfigMap],
        *,
        namespace: str,
        names: Iterable[str],
        read: Callable[[Mapping[str, Mapping[str, str]]], T],
        log: Logger,
    ) -> None:
        self._maps = maps
        self._namespace = namespace
        self._names = frozenset(names)
        self._read = read
        self._log = log
        self._found: list[T] = []
        self._on_change: list[Callable[[], None]] = []
        maps.informer.on_change(self._changed)

    @property
    def current(self) -> T:
        """What is in force. Only after `start`."""
        (found,) = self._found
        return found

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call when any setting changed."""
        self._on_change.append(callback)

    async def start(self) -> None:
        """Follow the ConfigMaps, and read them. Raises `InvalidConfig`."""
        await self._maps.informer.start()
        self.load({found.name: found.data for found in self._maps.informer.list(self._namespace)})

    def load(self, data: Mapping[str, Mapping[str, str]]) -> None:
        """Put in force what ConfigMaps with this data say. Raises `InvalidConfig`."""
        self._found = [self._read({name: data[name] for name in self._names & data.keys()})]

    async def stop(self) -> None:
        """Follow no more."""
        await self._maps.informer.stop()

    def _changed(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        found = new or old
        if not self._found or found is None or found.namespace != self._namespace or found.name not in self._names:
            return
        if old is not None and new is not None and old.data == new.data:
            return
        try:
            self.load({each.name: each.data for each in self._maps.informer.list(self._namespace)})
        except InvalidConfig as error:
            self._log.error("settings_refused", config_map=found.name, error=str(error))
            return
        self._log.info("settings_changed", config_map=found.name)
        for callback in self._on_change:
            callback()
