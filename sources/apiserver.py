"""`python -m sources apiserver`: the events of one ApiServerSource, what happens to objects of the cluster.

Each collection (a resource, in one namespace or in all) has a watcher, which sends before it goes on: a slow sink
delays later events of the same collection, and their order stays. Source: spec eventing-sources.md 3.
"""

import asyncio
import dataclasses
import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eventing.filters.dialects import Matches, compile_trigger
from kube.client import Client
from kube.errors import ApiError, ApiUnreachable, NotFound
from kube.models.meta import ObjectMeta
from kube.models.sources import ApiServerSource
from proxies.environment import ConfigError, Environment
from proxies.logs import Logger
from sources.adapter import Target
from sources.app import Shell
from sources.config import AdapterConfig, json_object, read_target
from sources.resources import event_of, is_controlled_by, resource_path
from sources.watching import Watcher

__all__ = ["ApiServerConfig", "App", "Watched"]

COMPONENT: Final = "apiserversource"
_WATCHES_MAX: Final = 200
"""Each holds a connection; the client has 256."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A resource to watch, or those of its objects that have the labels."""

    group: str
    version: str
    resource: str
    selector: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerConfig:
    """Read once, from the environment; most of it from `K_SOURCE_CONFIG`."""

    adapter: AdapterConfig
    target: Target
    resources: tuple[Watched, ...]
    namespaces: tuple[str, ...]
    """Where to watch; without meaning when all are watched."""
    watches_all_namespaces: bool
    mode: str
    owner: tuple[str, str] | None
    """apiVersion and kind of the controller that objects must have; None: any or none."""
    filters: tuple[Mapping[str, Any], ...]
    fails_fast: bool
    """A watch that ends is the end of the process."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "ApiServerConfig":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        content: dict[str, Any] = reading.parsed("K_SOURCE_CONFIG", _checked, None, {})
        owner = content.get("owner") or {}
        target = read_target(reading, environ)
        about = ObjectMeta(name=target.name, namespace=target.namespace)
        config = cls(
            adapter=AdapterConfig.read(reading, environ),
            target=dataclasses.replace(target, about=ApiServerSource(metadata=about)),
            resources=tuple(_watched(each) for each in content.get("resources") or ()),
            namespaces=tuple(content.get("namespaces") or ()),
            watches_all_namespaces=bool(content.get("allNamespaces")),
            mode=content.get("mode") or "Reference",
            owner=(str(owner.get("apiVersion", "")), str(owner.get("kind", ""))) if owner else None,
            filters=tuple(content.get("filters") or ()),
            fails_fast=bool(content.get("failFast")),
        )
        reading.finish()
        return config


class App:
    """The adapter of one ApiServerSource."""

    def __init__(self, config: ApiServerConfig, log: Logger | None = None) -> None:
        self._config = config
        self._shell = Shell(config.adapter, COMPONENT, log)
        self._url = config.adapter.api.server
        self._matches: Matches = compile_trigger(config.filters, None, self._refused)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """Where probes are answered."""
        return self._shell.port

    async def start(self) -> None:
        """Find what there is to watch, and watch it. Raises `ConfigError` when an API group does not exist."""
        await self._shell.start()
        paths = [(path, watched.selector) for watched in self._config.resources for path in await self._paths(watched)]
        if len(paths) > _WATCHES_MAX:
            raise ConfigError([f"K_SOURCE_CONFIG: {len(paths)} collections to watch, expected {_WATCHES_MAX} at most"])
        fails_fast, log = self._config.fails_fast, self._shell.log
        watchers = [
            Watcher(
                self._shell.client,
                path,
                label_selector=selector,
                handle=self._changed,
                fails_fast=fails_fast,
                log=log,
            )
            for path, selector in paths
        ]
        for error in await asyncio.gather(*(watcher.begin() for watcher in watchers), return_exceptions=True):
            if error is not None and (fails_fast or not isinstance(error, ApiError | ApiUnreachable)):
                raise error
        self._tasks = [asyncio.get_running_loop().create_task(watcher.run(), name="watch") for watcher in watchers]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        self._shell.ready()
        log.info("apiserver_adapter_started", watches=[path for path, _ in paths])

    async def drain(self) -> None:
        """Watch no longer. An event that is being sent is given up, as when the process is killed."""
        await self._shell.drain()

    async def stop(self) -> None:
        """End everything, in any state."""
        for task in self._tasks:
            task.remove_done_callback(self._ended)
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._shell.stop()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Only what fails fast ends, or a bug. Kubernetes then starts the adapter anew."""
        if not task.cancelled():
            self._shell.log.error("watch_ended", error=str(task.exception()))
            signal.raise_signal(signal.SIGTERM)

    async def _paths(self, watched: Watched) -> list[str]:
        """The collections of a resource; none when the API does not have it. Raises `ConfigError`."""
        found = await _discovered(self._shell.client, watched)
        if found is None:
            self._shell.log.error("resource_unknown", resource=watched.resource, version=watched.version)
            return []
        parts = (watched.group, watched.version, watched.resource)
        if self._config.watches_all_namespaces or not found["namespaced"]:
            return [resource_path(*parts, None)]
        return [resource_path(*parts, namespace) for namespace in self._config.namespaces]

    async def _changed(self, type_: str, obj: dict[str, Any], whole: bytes) -> None:
        config = self._config
        if config.owner is not None and not is_controlled_by(obj, *config.owner):
            return
        event = event_of(type_, obj, whole, mode=config.mode, source=self._url)
        if event is not None and self._matches(event.attributes):
            await self._shell.adapter.deliver(config.target, event)

    def _refused(self, problem: str) -> None:
        self._shell.log.error("filter_refused", error=problem)


async def _discovered(client: Client, watched: Watched) -> Mapping[str, Any] | None:
    """What the API says of a resource; None when it has none of that name. Raises `ConfigError` without the group."""
    path = f"/apis/{watched.group}/{watched.version}" if watched.group else f"/api/{watched.version}"
    try:
        listed = json.loads(await client.raw("GET", path))
    except NotFound as error:
        where = f"{watched.group}/{watched.version}".strip("/")
        raise ConfigError([f"K_SOURCE_CONFIG: the API has no {where}: {error.message}"]) from error
    return next((each for each in listed["resources"] if each["name"] == watched.resource), None)


def _checked(text: str) -> dict[str, Any]:
    """`K_SOURCE_CONFIG`, with everything that is read of it of the right type. Raises `ValueError`."""
    content = json_object(text)
    lists = {"namespaces": str, "resources": dict, "filters": dict}
    for name, kind in lists.items():
        value = content.get(name) or []
        if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
            raise ValueError(f"{name}: expected a list of {'names' if kind is str else 'objects'}")
    if (content.get("mode") or "Reference") not in ("Reference", "Resource"):
        raise ValueError("mode: expected Reference or Resource")
    if not isinstance(content.get("owner") or {}, dict):
        raise ValueError("owner: expected an object")
    if not content.get("resources"):
        raise ValueError("resources: expected at least one")
    for each in content["resources"]:
        gvr = each.get("gvr")
        if not isinstance(gvr, dict) or not gvr.get("Version") or not gvr.get("Resource"):
            raise ValueError("resources: expected gvr with Version and Resource")
    return content


def _watched(content: Mapping[str, Any]) -> Watched:
    gvr = content["gvr"]
    return Watched(
        str(gvr.get("Group") or ""), str(gvr["Version"]), str(gvr["Resource"]), str(content.get("selector") or "")
    )
