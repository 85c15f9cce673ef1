"""Contends for Leases and says which are held.

One task per Lease, in two states. *Contending*: wait until the Lease is free, which a watch tells at once when it is
released or made, and the own clock when its holder falls silent; then write. *Holding*: renew every `retry_s`; when no
renewal was accepted for `renew_deadline_s`, or another holder is seen, stop acting, then contend again.

`holds` asks the clock, not only the state: a process that was suspended does not act on a Lease that ran out meanwhile,
whatever the loop comes to first. What was begun before must be ended by `on_lost`, which has the time between the renew
deadline and the Lease's duration for it.

Source: client-go `tools/leaderelection`; differences: the watch instead of waiting out a whole retry period, and one
elector for many Leases.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kube.client import Client
from kube.election.candidacy import Candidacy
from kube.election.settings import LeaseTiming
from kube.errors import ApiError, ApiUnreachable, Conflict, NotFound
from kube.informer import Informer
from kube.models.coordination import Lease, LeaseSpec
from kube.models.meta import ObjectMeta
from proxies.logs import Logger

__all__ = ["Elector"]

_JITTER_FACTOR = 1.2
_RELEASE_S = 2.0
"""The end of a process does not wait longer for a server that does not answer."""


class Elector:
    """Contends for the Leases `names` in `namespace` as `identity`.

    `leases` watches at least that namespace and is started and stopped by the caller. `on_acquired(name)` and
    `on_lost(name)` are called on the loop, in turn for each name, and must be quick; `holds` already says so then.
    """

    def __init__(
        self,
        client: Client,
        leases: Informer[Lease],
        *,
        namespace: str,
        names: Iterable[str],
        identity: str,
        timing: LeaseTiming,
        on_acquired: Callable[[str], None],
        on_lost: Callable[[str], None],
        log: Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._namespace = namespace
        shared = _Shared(client, leases, namespace, identity, timing, on_acquired, on_lost, clock)
        self._contenders = {name: _Contender(shared, name, log.bind(lease=name)) for name in names}
        leases.on_change(self._changed)

    def holds(self, name: str) -> bool:
        """Whether we may act for `name` at this moment; False for names that we do not contend for."""
        contender = self._contenders.get(name)
        return contender is not None and contender.holds()

    async def start(self) -> None:
        """Contend; returns when each Lease was looked at, and was taken if it was free and the API answered."""
        for contender in self._contenders.values():
            contender.start()
        await asyncio.gather(*(contender.looked.wait() for contender in self._contenders.values()))

    async def stop(self) -> None:
        """Stop acting, then release what is held, so that others need not wait for it to run out."""
        await asyncio.gather(*(contender.stop() for contender in self._contenders.values()))

    def _changed(self, old: Lease | None, new: Lease | None) -> None:
        changed = new or old
        if changed is not None and changed.namespace == self._namespace and changed.name in self._contenders:
            self._contenders[changed.name].changed.set()


class _Shared(NamedTuple):
    """What all contenders of an elector have in common."""

    client: Client
    leases: Informer[Lease]
    namespace: str
    identity: str
    timing: LeaseTiming
    on_acquired: Callable[[str], None]
    on_lost: Callable[[str], None]
    clock: Callable[[], float]


class _Contender:
    """Contends for one Lease."""

    def __init__(self, shared: _Shared, name: str, log: Logger) -> None:
        self._shared = shared
        self._name = name
        self._log = log
        self._clock = shared.clock
        self._candidacy = Candidacy(shared.identity, shared.timing)
        self._acts = False
        self._has_claimed = False
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()
        """The watch brought another state of the Lease."""
        self.looked = asyncio.Event()
        """The first look, and the first attempt if it led to one, are over."""

    def holds(self) -> bool:
        """Whether the Lease is ours by the clock."""
        return self._acts and self._clock() < self._candidacy.held_until_s

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"lease {self._name}")

    async def stop(self) -> None:
        """Stop acting, and release the Lease if it is ours."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        self._end_acting("stopping")
        if not self._has_claimed:
            return
        try:
            async with asyncio.timeout(_RELEASE_S):
                await self._release()
        except NotFound:
            return  # nothing left to release
        except (ApiError, ApiUnreachable, TimeoutError) as error:
            self._log.warning("lease_not_released", error=str(error) or type(error).__name__)

    # The task.

    async def _run(self) -> None:
        while True:
            try:
                await self._serve_a_term()
            except Exception as error:  # noqa: BLE001 - a bug must not leave a Lease that nobody contends for
                self._log.exception("election_failed", error)
                self._end_acting("failed")
                self.looked.set()
                await asyncio.sleep(self._shared.timing.retry_s)

    async def _serve_a_term(self) -> None:
        await self._contend()
        self._acts = True
        self._log.info("lease_acquired")
        self._shared.on_acquired(self._name)
        self.looked.set()
        why = await self._hold()
        self._end_acting(why)

    async def _contend(self) -> None:
        """Return when the Lease is ours."""
        while True:
            self.changed.clear()
            self._observe()
            now_s = self._clock()
            if now_s < self._candidacy.free_at_s:
                self.looked.set()
                await self._wait(self._candidacy.free_at_s - now_s)
            elif await self._take(self._shared.timing.renew_deadline_s / 2):
                return
            else:
                self.looked.set()
                await self._wait(self._shared.timing.retry_s * random.uniform(1, 1 + _JITTER_FACTOR))

    async def _hold(self) -> str:
        """Renew; return when the Lease is no longer ours, and why."""
        retry_at_s = self._clock() + self._shared.timing.retry_s
        while True:
            self.changed.clear()
            self._observe()
            candidacy, now_s = self._candidacy, self._clock()
            if candidacy.lease is not None and not candidacy.is_named:
                return f"held by {candidacy.holder}" if candidacy.holder else "released by somebody else"
            left_s = candidacy.held_until_s - now_s
            if left_s <= 0:
                return f"not renewed for {self._shared.timing.renew_deadline_s:g} s"
            if now_s >= retry_at_s:
                await self._take(min(left_s, self._shared.timing.renew_deadline_s / 2))
                retry_at_s = self._clock() + self._shared.timing.retry_s
            else:
                await self._wait(min(retry_at_s - now_s, left_s))

    def _end_acting(self, why: str) -> None:
        self._candidacy.lose()
        if self._acts:
            self._acts = False
            self._log.info("lease_lost", reason=why)
            self._shared.on_lost(self._name)

    async def _take(self, timeout_s: float) -> bool:
        """Take or renew the Lease; whether that was accepted within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                accepted = await self._claim() or await self._claim_anew()
        except (ApiError, ApiUnreachable, TimeoutError) as error:
            if not self._is_failing:
                self._is_failing = True
                self._log.warning("lease_not_written", error=str(error) or type(error).__name__)
            return False
        self._is_failing = False
        return accepted

    async def _claim(self) -> bool:
        """One conditional write; False when the Lease has changed since it was observed."""
        self._has_claimed = True
        sent_s = self._clock()
        with contextlib.suppress(Conflict, NotFound):
            lease = await self._write(self._candidacy.claim(time.time()))
            self._candidacy.renewed(lease, sent_s)
            self._shared.leases.apply_local(lease)
            return True
        return False

    async def _claim_anew(self) -> bool:
        """Read the Lease, since the watch may be behind, and try once more if it may be taken."""
        lease: Lease | None = None
        with contextlib.suppress(NotFound):
            lease = await self._shared.client.get(Lease, self._name, self._shared.namespace)
            self._shared.leases.apply_local(lease)
        self._candidacy.observe(lease, self._clock())
        return self._clock() >= self._candidacy.free_at_s and await self._claim()

    async def _release(self) -> None:
        """Give the Lease back when its record names us, be it by a write whose answer was not waited for."""
        self._candidacy.observe(await self._shared.client.get(Lease, self._name, self._shared.namespace), self._clock())
        if self._candidacy.is_named:
            await self._write(self._candidacy.release(time.time()))
            self._log.info("lease_released")

    async def _write(self, spec: LeaseSpec) -> Lease:
        """Make the Lease's record `spec`, provided that it is as last observed (`Conflict` otherwise)."""
        lease = self._candidacy.lease
        if lease is None:
            metadata = ObjectMeta(name=self._name, namespace=self._shared.namespace)
            return await self._shared.client.create(Lease(metadata=metadata, spec=spec))
        patch = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        return await self._shared.client.patch(Lease, self._name, self._shared.namespace, patch)

    def _observe(self) -> None:
        """Take over what the watch says, unless our own write is newer."""
        self._candidacy.observe(self._shared.leases.get(self._shared.namespace, self._name), self._clock())

    async def _wait(self, seconds: float) -> None:
        """Until the Lease changes, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.changed.wait()
