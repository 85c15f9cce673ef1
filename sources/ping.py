"""`python -m sources ping`: the events of all PingSources of a cluster, each at its time.

Of several replicas the holder of a Lease fires. Each tick is a task of its own, so a slow sink delays nobody; a source
whose sink hangs has at most `_UNDER_WAY_MAX` of them, and then loses ticks. Source: spec eventing-sources.md 2.
"""

import asyncio
import base64
import binascii
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from eventing.cron import CronError, parse
from eventing.event import Event
from eventing.values import Value
from kube.informer import Informer
from kube.models.sources import PingSource
from proxies.environment import Environment
from proxies.gotext import parse_int
from proxies.logs import Logger
from sources.adapter import Target
from sources.app import Shell
from sources.config import AdapterConfig
from sources.overrides import Overrides
from sources.timetable import Timetable

__all__ = ["App", "PingConfig", "event_of", "exit_delay_s", "target_of"]

Key = tuple[str, str]

COMPONENT: Final = "pingsource-mt-adapter"
TYPE: Final = "dev.knative.sources.ping"
_NO_SHUTDOWN_AFTER: Final = 55
_JITTER_S: Final = 0.5
_LOOK_S: Final = 5.0
"""The longest time until the clock is looked at again: it may have been set, or the machine may have slept."""
_UNDER_WAY_MAX: Final = 100
_DRAIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PingConfig:
    """Read once, from the environment."""

    adapter: AdapterConfig
    no_shutdown_after: int = _NO_SHUTDOWN_AFTER
    """From this second of a minute on, the end waits for the tick of the next minute. `K_NO_SHUTDOWN_AFTER`."""
    is_alone: bool = False
    """Nobody else may act, so no Lease is asked for: flag `--disable-ha`."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, is_alone: bool = False) -> "PingConfig":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        config = cls(
            adapter=AdapterConfig.read(reading, environ),
            no_shutdown_after=reading.parsed("K_NO_SHUTDOWN_AFTER", _second, _NO_SHUTDOWN_AFTER, 0),
            is_alone=is_alone,
        )
        reading.finish()
        return config


class App:
    """One adapter for all PingSources."""

    def __init__(
        self,
        config: PingConfig,
        log: Logger | None = None,
        *,
        clock: Callable[[], float] = time.time,
        jitter_s: float = _JITTER_S,
        look_s: float = _LOOK_S,
    ) -> None:
        """`clock`: Unix seconds. A tick waits up to `jitter_s`; the clock is looked at every `look_s` at least."""
        self._config = config
        self._shell = Shell(config.adapter, COMPONENT, log)
        self._sources = Informer(self._shell.client, PingSource, log=self._shell.log)
        self._timetable: Timetable[Key] = Timetable()
        self._now_s = clock
        self._jitter_s = jitter_s
        self._look_s = look_s
        self._timer: asyncio.TimerHandle | None = None
        self._ticks: set[asyncio.Task[None]] = set()
        self._under_way: Counter[Key] = Counter()
        self._acts = False
        self._sources.on_change(self._changed)

    @property
    def port(self) -> int:
        """Where probes are answered."""
        return self._shell.port

    async def start(self) -> None:
        """Read all sources, then act if nobody else does."""
        await self._shell.start()
        await self._shell.trust_cluster()
        await self._sources.start()
        if self._config.is_alone:
            self._act(True)
        else:
            await self._shell.lead(self._act)
        self._shell.ready()
        self._shell.log.info("ping_adapter_started", sources=len(self._sources.list()), acts=self._acts)

    async def drain(self) -> None:
        """Fire the tick that is about to come, let others act, and finish what is under way."""
        delay_s = exit_delay_s(self._now_s(), self._config.no_shutdown_after)
        if self._acts and delay_s:
            await asyncio.sleep(delay_s)
        await self._shell.drain()
        self._act(False)
        if self._ticks:
            await asyncio.wait(self._ticks, timeout=_DRAIN_S)

    async def stop(self) -> None:
        """End everything, in any state."""
        self._act(False)
        for tick in self._ticks:
            tick.cancel()
        if self._ticks:
            await asyncio.wait(self._ticks)
        await self._sources.stop()
        await self._shell.stop()

    # Who fires.

    def _act(self, acts: bool) -> None:
        """Begin with every source, or end."""
        self._acts = acts
        self._timetable.clear()
        if acts:
            for source in self._sources.list():
                self._changed(None, source)
        self._look()

    def _changed(self, old: PingSource | None, new: PingSource | None) -> None:
        if not self._acts:
            return
        if new is None or not new.status.is_ready():
            self._timetable.remove((new or old or PingSource()).key)
        elif old is None or not old.status.is_ready() or _timing(old) != _timing(new):
            # Another data or sink changes nothing about the time, and a tick that is just due must not be lost.
            self._set(new)
        self._look()

    def _set(self, source: PingSource) -> None:
        try:
            schedule = parse(*_timing(source))
        except CronError as error:
            self._timetable.remove(source.key)
            self._shell.log.error("schedule_refused", source="/".join(source.key), error=str(error))
            return
        self._timetable.set(source.key, schedule, self._now_s())

    # Firing.

    def _look(self) -> None:
        """Fire what is due, and look again when the next is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._acts:
            return
        now_s = self._now_s()
        delay_s = self._look_s
        if self._shell.leads:  # the clock is asked: a process that was suspended may have lost the Lease
            for key in self._timetable.due(now_s):
                self._fire(key)
            next_at = self._timetable.next_at()
            if next_at is None:
                return
            delay_s = min(max(next_at - now_s, 0.0), delay_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _fire(self, key: Key) -> None:
        source = self._sources.get(*key)
        if source is None:
            return
        if self._under_way[key] >= _UNDER_WAY_MAX:
            if self._under_way[key] == _UNDER_WAY_MAX:
                self._under_way[key] += 1  # said once, until the sink answers again
                self._shell.log.error("ticks_lost", source="/".join(key), under_way=_UNDER_WAY_MAX)
            return
        self._under_way[key] += 1
        tick = asyncio.get_running_loop().create_task(self._send(key, source), name=f"ping {key}")
        self._ticks.add(tick)
        tick.add_done_callback(self._ticks.discard)

    async def _send(self, key: Key, source: PingSource) -> None:
        try:
            await asyncio.sleep(random.uniform(0, self._jitter_s))
            await self._shell.adapter.deliver(target_of(source), event_of(source))
        except ValueError as error:
            self._shell.log.error("event_lost", source="/".join(key), outcome=str(error))
        finally:
            self._under_way[key] = min(self._under_way[key], _UNDER_WAY_MAX) - 1
            if not self._under_way[key]:
                del self._under_way[key]


def event_of(source: PingSource) -> Event:
    """One tick's event. Raises `ValueError` for data that is no base64, which admission refuses."""
    spec = source.spec
    attributes: dict[str, Value] = {
        "type": TYPE,
        "source": f"/apis/v1/namespaces/{source.namespace}/pingsources/{source.name}",
    }
    data: bytes | None = spec.data.encode() or None
    if spec.data_base64:
        try:
            data = base64.b64decode(spec.data_base64, validate=True)
        except binascii.Error as error:
            raise ValueError(f"dataBase64: expected base64: {error}") from error
    if data and spec.content_type:
        attributes["datacontenttype"] = spec.content_type
    return Event(attributes, data)


def target_of(source: PingSource) -> Target:
    """Where its events go, as its status says."""
    status, overrides = source.status, source.spec.ce_overrides
    return Target(
        url=status.sink_uri or "",
        namespace=source.namespace,
        name=source.name,
        ca_certs=status.sink_ca_certs or "",
        audience=status.sink_audience or "",
        service_account=(status.auth.service_account_name or "") if status.auth else "",
        overrides=Overrides(overrides.extensions if overrides else {}),
        about=source,
    )


def exit_delay_s(now_s: float, no_shutdown_after: int) -> float:
    """How long the end waits: late in a minute until the first second of the next one has passed."""
    second = now_s % 60
    return 61 - second if int(second) >= no_shutdown_after else 0.0


def _timing(source: PingSource) -> tuple[str, str]:
    return source.spec.schedule, source.spec.timezone


def _second(text: str) -> int:
    value = parse_int(text)
    if not 0 <= value < 60:
        raise ValueError("expected a second from 0 to 59")
    return value
