"""Which versions of routes are proved to be served, and the probes that are under way for others."""

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kube.ingress.prober import Prober, Target

__all__ = ["Proofs"]

Key = tuple[str, str]


class _Probe(NamedTuple):
    version: str
    targets: frozenset[Target]
    owner: Key
    hurry: asyncio.Event
    task: asyncio.Task[None]


class Proofs:
    """By route. `wake(owner)` is called when a version of a route of that owner is proved.

    At most one probe for each route is under way: another version, or other targets, ends it.
    """

    def __init__(self, prober: Prober, wake: Callable[[Key], None]) -> None:
        self._prober = prober
        self._wake = wake
        self._served: dict[Key, str] = {}
        self._probing: dict[Key, _Probe] = {}

    def is_served(self, route: Key, version: str, targets: Iterable[Target], owner: Key) -> bool:
        """Whether the version is proved; if not, it is being probed from now on."""
        if self._served.get(route) == version:
            return True
        wanted = frozenset(targets)
        known = self._probing.get(route)
        if known is None or (known.version, known.targets) != (version, wanted):
            self.forget(route)
            hurry = asyncio.Event()
            task = asyncio.get_running_loop().create_task(
                self._prove(route, version, wanted, owner, hurry), name=f"probe {route[0]}/{route[1]}"
            )
            self._probing[route] = _Probe(version, wanted, owner, hurry, task)
        return False

    def hurry(self, owner: Key) -> None:
        """Something behind the owner's routes has changed: pauses that have grown long are over."""
        for probe in self._probing.values():
            if probe.owner == owner:
                probe.hurry.set()
                probe.hurry.clear()

    def believe(self, route: Key, version: str) -> None:
        """It was proved before we came."""
        self._served.setdefault(route, version)

    def forget(self, route: Key) -> None:
        """The route has changed, or is gone."""
        self._served.pop(route, None)
        known = self._probing.pop(route, None)
        if known is not None:
            known.task.cancel()

    async def stop(self) -> None:
        """End all probes, and forget what was proved: it may be another's to change meanwhile."""
        tasks = [probe.task for probe in self._probing.values()]
        for route in list(self._probing):
            self.forget(route)
        self._served.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _prove(
        self, route: Key, version: str, targets: frozenset[Target], owner: Key, hurry: asyncio.Event
    ) -> None:
        await self._prober.probe_until_served(targets, version, hurry)
        self._served[route] = version
        del self._probing[route]
        self._wake(owner)
