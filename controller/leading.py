"""Of several replicas one acts, the holder of one Lease; the others read along.

Who takes over begins when what it ended before is over. Who lost the Lease cancels what is under way; a write that is
on its way already names the version it is based on, so it is refused if the successor was faster. To begin and to end
are turns, one after the other; one that fails is told in the log, and those after it come all the same.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from controller.collection import Collection
from kube.client import Client
from kube.election.elector import Elector
from kube.election.settings import ElectionSettings, InvalidElectionSettings
from kube.informer import Informer
from kube.models.coordination import Lease
from kube.models.core import ConfigMap
from proxies.environment import ConfigError
from proxies.logs import Logger

__all__ = ["Leading"]

_CONFIG_MAP = "config-leader-election"


class Leading:
    """One candidate for the Lease `knuv-<name>`: acts from `begin` to `end`, which may also come with nothing begun.

    `pod_name` is the candidate's name, if it has one: a container that is started anew in the same pod goes on at once.
    """

    def __init__(
        self,
        client: Client,
        *,
        name: str,
        namespace: str,
        pod_name: str,
        begin: Callable[[], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
        log: Logger,
    ) -> None:
        self._client = client
        self._name = name
        self._lease = f"knuv-{name}"
        self._namespace = namespace
        self._identity = pod_name or f"{name}-{uuid.uuid4()}"
        self._begin = begin
        self._end = end
        self._log = log
        self._leases = Informer(client, Lease, namespace=namespace, log=log)
        self._elector: Elector | None = None
        self._turn: asyncio.Task[None] | None = None

    def is_acting(self) -> bool:
        """Whether it is ours to act at this moment: asks the clock too, as a suspended process must not act on."""
        return self._elector is not None and self._elector.holds(self._lease)

    async def start(self, config_maps: Collection[ConfigMap]) -> None:
        """Contend, as a ConfigMap says how. Raises `ConfigError` when it cannot be used."""
        found = config_maps.get(self._namespace, _CONFIG_MAP)
        try:
            settings = ElectionSettings.from_data(found.data if found is not None else {})
        except InvalidElectionSettings as error:
            raise ConfigError([f"{_CONFIG_MAP}: {error}"]) from error
        await self._leases.start()
        self._elector = Elector(
            self._client,
            self._leases,
            namespace=self._namespace,
            names=[self._lease],
            identity=self._identity,
            timing=settings.timing,
            on_acquired=lambda _lease: self._then(self._begin),
            on_lost=lambda _lease: self._then(self._end),
            log=self._log,
        )
        await self._elector.start()

    async def drain(self) -> None:
        """Stop acting. What was under way is found half done by whoever is next, and taken from there."""
        if self._elector is not None:
            await self._elector.stop()
        self._then(self._end)
        if self._turn is not None:
            await self._turn

    async def stop(self) -> None:
        """Stop acting, and following the Lease."""
        await self.drain()
        await self._leases.stop()

    def _then(self, step: Callable[[], Awaitable[None]]) -> None:
        """Begin or end to act, when what was begun before is over."""
        before = self._turn

        async def turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - who cannot begin must still end, and the other way round
                self._log.exception("election_turn_failed", error, election=self._name)

        self._turn = asyncio.get_running_loop().create_task(turn(), name=f"election {self._name}")
