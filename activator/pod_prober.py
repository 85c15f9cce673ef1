"""Probes the pods of all revisions and says where requests may go; `pod_states` decides, this connects it to the loop.

A revision has a timer only while something of it is unsettled. Source: spec activator.md 9.2.
"""

import asyncio
import errno
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from activator.endpoints import Addresses, split_address
from activator.knock import Knock
from activator.pod_states import Backends, PodStates, ProbeOutcome, ProbeSettings
from activator.probe_slots import ProbeSlots, Slot
from proxies.headers import ACTIVATOR_AGENT
from proxies.probe import Probe, ProbeResult, http_request, probe_http

__all__ = ["Observation", "PodProber", "judge"]

Key = tuple[str, str]
"""Namespace and name of a revision."""

_TARGET: Final = b"/healthz"
_HEALTHY_BODY: Final = b"queue"
_DRAINING_BODY: Final = b"shutting down\n"
_MESH_STATUSES: Final = (502, 503)
_OVER: Final = (ProbeOutcome.DRAINING, ProbeOutcome.REFUSED, ProbeOutcome.NOT_MESH)
"""What says of a pod in use that it is on its way out, gone, or another one. Silence or another 503 may be overload."""
_REFUSED: Final = ProbeResult(error="connection refused", is_refused=True)
_UNREACHED: Final = ProbeResult(error="no connection")
_TIMEOUT_MAX_S: Final = 1.0
_TYPICAL_TIMES: Final = 4.0
_TYPICAL_WEIGHT: Final = 0.125
"""Of the last probe in the typical duration of those that pass, as in TCP's round-trip time (RFC 6298)."""


def judge(result: ProbeResult) -> ProbeOutcome:
    """Return what a probe's result says (spec 9.2): a pass is 200 with exactly the body that queue-proxy gives."""
    if result.error:
        return ProbeOutcome.REFUSED if result.is_refused else ProbeOutcome.SILENT
    if result.status == 200 and result.body == _HEALTHY_BODY:
        return ProbeOutcome.PASSED
    if result.status == 503 and result.body == _DRAINING_BODY:
        return ProbeOutcome.DRAINING
    return ProbeOutcome.MAYBE_MESH if result.status in _MESH_STATUSES else ProbeOutcome.NOT_MESH


class Observation(NamedTuple):
    """What Kubernetes says of a revision's pods."""

    addresses: Addresses
    cluster_address: str
    """The private Service's `ip:port`; empty when it has none."""
    trusts_not_ready: bool
    """Taken when the revision is first observed."""
    passthrough_host: bytes
    """`Host` that a mesh passes requests for single pods on under."""


class _Probing:
    """One probe, from the moment when it is due: it may have to wait for a slot."""

    __slots__ = ("probe", "slot", "slots", "started_s")

    def __init__(self, slots: ProbeSlots) -> None:
        self.slots = slots
        self.slot: Slot | None = None
        self.probe: Probe | Knock | None = None
        self.started_s = 0.0

    def end(self) -> None:
        """It has a result, or nobody wants one any more."""
        if self.probe is not None:
            self.probe.cancel()
        if self.slot is not None:
            self.slots.end(self.slot)


class _Watch:
    """One revision."""

    __slots__ = (
        "checks",
        "cluster_probe",
        "is_to_go_on",
        "key",
        "passthrough_host",
        "probes",
        "published",
        "states",
        "timer",
    )

    def __init__(self, key: Key, states: PodStates, passthrough_host: bytes) -> None:
        self.key = key
        self.states = states
        self.passthrough_host = passthrough_host
        self.published = Backends()
        self.probes: dict[str, _Probing] = {}
        self.checks: dict[str, _Probing] = {}
        """Probes of pods in use."""
        self.cluster_probe: _Probing | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.is_to_go_on = False
        """`_go_on` follows at the end of this turn of the loop."""


class PodProber:
    """Follows the pods of revisions. `publish(key, backends)` is called when the backends of a revision change."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: ProbeSettings,
        *,
        timeout_s: float,
        publish: Callable[[Key, Backends], None],
        over: Callable[[Key, str, str], None],
    ) -> None:
        """`over(key, address, reason)` is called when a pod in use turned out not to be one any more."""
        self._loop = loop
        self._settings = settings
        self._timeout_min_s = timeout_s
        self._typical_s = 0.0
        self._slots = ProbeSlots()
        self._publish = publish
        self._over = over
        self._watches: dict[Key, _Watch] = {}

    def observe(self, key: Key, observation: Observation) -> None:
        """Kubernetes lists these pods for the revision; what is new is probed at once."""
        watch = self._watches.get(key)
        if watch is None:
            states = PodStates(self._settings, trusts_not_ready=observation.trusts_not_ready)
            watch = self._watches[key] = _Watch(key, states, observation.passthrough_host)
        watch.states.observe(observation.addresses, observation.cluster_address, self._loop.time())
        self._go_on(watch)

    def suspect(self, key: Key, address: str) -> bool:
        """A request of the revision could not be sent to `address`: it is probed again before it gets another.

        False: it is not in use.
        """
        watch = self._watches.get(key)
        if watch is None or not watch.states.suspect(address, self._loop.time()):
            return False
        self._go_on(watch)
        return True

    def check(self, key: Key, addresses: Iterable[str]) -> None:
        """Probe pods of the revision that are in use; one that is on its way out leaves."""
        watch = self._watches.get(key)
        if watch is None:
            return
        for address in addresses:
            if address not in watch.checks and watch.states.is_checkable(address):
                probing = watch.checks[address] = _Probing(self._slots)
                self._claim(watch, probing, address, partial(self._checked, watch, address), is_repeated=True)

    def forget(self, key: Key) -> None:
        """The revision's Endpoints are gone: nothing is healthy, and everything is found out anew when they return."""
        watch = self._watches.pop(key, None)
        if watch is None:
            return
        self._end(watch)
        if watch.published != Backends():
            self._publish(key, Backends())

    def backends(self, key: Key) -> Backends:
        """Return where requests of the revision may go."""
        watch = self._watches.get(key)
        return Backends() if watch is None else watch.states.backends

    def unsettled(self, key: Key) -> list[str]:
        """Return the addresses of the revision that are being probed."""
        watch = self._watches.get(key)
        return [] if watch is None else watch.states.unsettled

    def close(self) -> None:
        """Stop probing."""
        for watch in self._watches.values():
            self._end(watch)
        self._watches.clear()

    def _go_on(self, watch: _Watch) -> None:
        """Publish what changed, stop probes that nobody wants any more, probe what is due, wake up when more is."""
        states = watch.states
        backends = states.backends
        if backends != watch.published:
            watch.published = backends
            self._publish(watch.key, backends)
        for address in [address for address in watch.probes if not states.is_wanted(address)]:
            watch.probes.pop(address).end()
        now_s = self._loop.time()
        for address in states.take_due(now_s):
            probing = watch.probes[address] = _Probing(self._slots)
            done = partial(self._probed, watch, address, probing)
            self._claim(watch, probing, address, done, is_repeated=states.is_repeated(address))
        cluster_address = states.take_cluster_due(now_s)
        if cluster_address:
            probing = watch.cluster_probe = _Probing(self._slots)
            done = partial(self._cluster_probed, watch, cluster_address)
            self._claim(watch, probing, cluster_address, done, is_repeated=False)
        if watch.timer is not None:
            watch.timer.cancel()
        next_s = states.next_s
        watch.timer = None if next_s is None else self._loop.call_at(next_s, self._go_on, watch)

    @property
    def _timeout_s(self) -> float:
        """How long a first probe may take: four times as long as one that passes, within limits."""
        return max(self._timeout_min_s, min(_TYPICAL_TIMES * self._typical_s, _TIMEOUT_MAX_S))

    def _claim(
        self,
        watch: _Watch,
        probing: _Probing,
        address: str,
        done: Callable[[ProbeResult], None],
        *,
        is_repeated: bool,
    ) -> None:
        start = partial(self._start, watch, probing, address, done)
        probing.slot = self._slots.claim(start, is_repeated=is_repeated)

    def _start(self, watch: _Watch, probing: _Probing, address: str, done: Callable[[ProbeResult], None]) -> None:
        probing.started_s = self._loop.time()
        timeout_s = watch.states.timeout_s(address, self._timeout_s)
        if watch.states.has_refused(address):
            host, port = split_address(address)
            knocked = partial(self._knocked, watch, probing, address, done)
            probing.probe = Knock(self._loop, host, port, timeout_s=timeout_s, done=knocked)
        else:
            probing.probe = self._probe(watch, address, timeout_s, done)

    def _knocked(
        self, watch: _Watch, probing: _Probing, address: str, done: Callable[[ProbeResult], None], error: int
    ) -> None:
        """Who refused connections does so again, or can be probed."""
        if error:
            done(_REFUSED if error == errno.ECONNREFUSED else _UNREACHED)
        else:
            timeout_s = watch.states.timeout_s(address, self._timeout_s)
            probing.probe = self._probe(watch, address, timeout_s, done)

    def _probe(self, watch: _Watch, address: str, timeout_s: float, done: Callable[[ProbeResult], None]) -> Probe:
        host, port = split_address(address)
        fields = [(b"User-Agent", ACTIVATOR_AGENT), (b"K-Network-Probe", b"queue")]
        host_header = address.encode()
        if self._settings.passthrough:
            host_header = watch.passthrough_host
            fields.append((b"K-Passthrough-Lb", b"true"))
        request = http_request(_TARGET, host_header, fields)
        return probe_http(self._loop, host, port, request=request, timeout_s=timeout_s, done=done)

    def _probed(self, watch: _Watch, address: str, probing: _Probing, result: ProbeResult) -> None:
        del watch.probes[address]
        probing.probe = None
        probing.end()
        now_s = self._loop.time()
        outcome = judge(result)
        if outcome is ProbeOutcome.PASSED:
            took_s = now_s - probing.started_s
            self._typical_s += (took_s - self._typical_s) * (_TYPICAL_WEIGHT if self._typical_s else 1.0)
        watch.states.probed(address, outcome, now_s)
        if outcome is ProbeOutcome.PASSED:
            self._go_on(watch)
        elif not watch.is_to_go_on:
            # Pods that are probed together fail together: what follows is worked out once for all of them.
            watch.is_to_go_on = True
            self._loop.call_soon(self._failed, watch)

    def _failed(self, watch: _Watch) -> None:
        """Probes have failed in this turn of the loop."""
        watch.is_to_go_on = False
        if self._watches.get(watch.key) is watch:
            self._go_on(watch)

    def _checked(self, watch: _Watch, address: str, result: ProbeResult) -> None:
        probing = watch.checks.pop(address)
        probing.probe = None
        probing.end()
        outcome = judge(result)
        if outcome in _OVER and watch.states.suspect(address, self._loop.time()):
            self._over(watch.key, address, outcome.value)
            self._go_on(watch)

    def _cluster_probed(self, watch: _Watch, address: str, result: ProbeResult) -> None:
        probing, watch.cluster_probe = watch.cluster_probe, None
        assert probing is not None
        probing.probe = None
        probing.end()
        watch.states.cluster_probed(address, judge(result), self._loop.time())
        self._go_on(watch)

    def _end(self, watch: _Watch) -> None:
        if watch.timer is not None:
            watch.timer.cancel()
        for probe in (*watch.probes.values(), *watch.checks.values()):
            probe.end()
        if watch.cluster_probe is not None:
            watch.cluster_probe.end()
