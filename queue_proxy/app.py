"""One queue-proxy: its listeners, its stat tick, its drain and its shutdown."""

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Final

from proxies.allocator import keep_heap_compact
from proxies.breaker import Breaker
from proxies.drain import Drain
from proxies.exchange import Exchange
from proxies.logs import Logger
from proxies.pool import Pool
from proxies.request_stats import RequestStats
from proxies.server import Server
from proxies.timeouts import TimeoutLimits
from queue_proxy.admin import DrainPolicy, StatPolicy, StatSnapshot
from queue_proxy.certificate import Certificate
from queue_proxy.config import ADMIN_PORT, STAT_PORT, Config
from queue_proxy.observers import Observers
from queue_proxy.policy import QueuePolicy
from queue_proxy.readiness import NO_SOCKETS, Readiness
from queue_proxy.timeout_log import TimeoutLog

if TYPE_CHECKING:
    from queue_proxy.profiling import ProfilingPort

__all__ = ["App"]

_TICK_S: Final = 1.0
_SETTLE_S: Final = 2.0
"""A cold start comes first."""
_TAKE_BACK_S: Final = 1.0
"""A drain that kubelet's hook began is taken back when no SIGTERM follows within this time: then only the user
container is restarted, and the pod lives on (spec queue-proxy.md 14.1)."""
_USER_HOST: Final = "127.0.0.1"
_IDLE_MAX_UNLIMITED: Final = 1000


class App:
    """`start` listens, `drain` waits until traffic is quiet, `stop` lets what runs finish and closes."""

    def __init__(self, config: Config) -> None:
        self._config = config
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._logger = Logger(
            "queueproxy",
            level=config.log_level,
            fields={
                "knative.dev/key": f"{config.serving_namespace}/{config.serving_revision}",
                "knative.dev/pod": config.serving_pod,
                "pod": config.serving_pod,
            },
        )
        now_s = time.monotonic()
        limit = config.container_concurrency
        self._stats = RequestStats(now_s)
        self._snapshot = StatSnapshot(config.serving_pod, now_s)
        self._drain = Drain()
        self._is_terminating = False
        idle_max = limit if limit > 0 else _IDLE_MAX_UNLIMITED
        self._pool = Pool(loop, idle_max=idle_max, idle_per_endpoint_max=idle_max)
        self._readiness = Readiness(
            loop,
            config.readiness_probes,
            self._logger,
            sockets={config.user_port: config.user_socket} if config.user_socket else NO_SOCKETS,
            finds_version=config.enable_http2_auto_detection,
        )
        self._timeout_log = TimeoutLog(loop, self._logger)
        breaker = Breaker[Exchange](queue_depth=config.queue_depth, concurrency=limit) if limit > 0 else None
        self._observers = Observers(loop, config, self._logger, lambda: self._policy.queue_depth)
        self._policy = QueuePolicy(
            target=self._pool.endpoint(
                config.user_socket or _USER_HOST, _port(config.user_port), version=config.user_protocol
            ),
            limits=TimeoutLimits(
                max_duration_s=config.revision_timeout_seconds,
                response_start_s=max(0, config.revision_response_start_timeout_seconds),
                idle_s=max(0, config.revision_idle_timeout_seconds),
            ),
            breaker=breaker,
            stats=self._stats,
            drain=self._drain,
            readiness=self._readiness,
            timed_out=self._timeout_log.add,
            telemetry=self._observers.telemetry,
            tells_timing=config.server_timing,
        )
        self._waiters = DrainPolicy(self._wait_for_drain)
        self._main = Server(loop, self._policy, self._logger, takes_http2=True, grpc_errors=config.grpc_errors)
        self._admin = Server(loop, self._waiters, self._logger, is_side_port=True)
        self._stat = Server(loop, StatPolicy(self._snapshot), self._logger, is_side_port=True)
        self._certificate = None if config.tls is None else Certificate(config.certificates, config.tls, self._logger)
        self._profiling = self._profiling_if_on()
        self._tick: asyncio.TimerHandle | None = None
        self._take_back: asyncio.TimerHandle | None = None
        self._settling: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen. Raises `OSError` when a port cannot be had, `ValueError` for a certificate that is none."""
        host = self._config.bind_address
        tls = None if self._certificate is None else self._certificate.start(self._loop)
        await self._main.listen(host, int(self._config.queue_serving_port))
        await self._listen_on_sibling(host)
        if tls is not None:
            await self._main.listen(host, _port(self._config.queue_serving_tls_port), tls=tls)
        await self._admin.listen(host, ADMIN_PORT)
        await self._stat.listen(host, STAT_PORT)
        if self._profiling is not None:
            await self._profiling.start(host, self._config.observability.profiling_port)
        await self._observers.start()
        self._logger.info("listening", at=time.time(), port=self._config.queue_serving_port)
        self._tick = self._loop.call_later(_TICK_S, self._report, self._loop.time() + _TICK_S)
        self._settling = self._loop.call_later(_SETTLE_S, keep_heap_compact)
        # What exists now lives as long as the process: no collection need ever look at it.
        gc.freeze()
        gc.enable()

    async def drain(self) -> None:
        """Say *not ready* and wait until no request has come for the quiet period (SIGTERM)."""
        self._is_terminating = True
        self._drain.begin(time.monotonic())
        # Each sleep lasts as long as the quiet period has left; only requests make another one necessary.
        while (left_s := self._drain.left_s(time.monotonic())) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left_s)
        self._logger.info("drained", at=time.time())
        self._waiters.release()

    async def stop(self) -> None:
        """Stop listening, let what runs finish, close."""
        await self._main.stop()
        self._waiters.release()
        await self._admin.stop()
        await self._stat.stop()
        if self._profiling is not None:
            await self._profiling.stop()
        await self._observers.stop()
        for handle in (self._tick, self._take_back, self._settling):
            if handle is not None:
                handle.cancel()
        if self._certificate is not None:
            self._certificate.stop()
        self._readiness.close()
        self._timeout_log.close()
        await self._pool.close()

    def _profiling_if_on(self) -> "ProfilingPort | None":
        if not self._config.observability.profiling:
            return None
        from queue_proxy.profiling import ProfilingPort

        return ProfilingPort(self._loop, self._logger)

    async def _listen_on_sibling(self, host: str) -> None:
        """Nobody may count on this port, so a pod in which it is taken works without."""
        port = self._config.sibling_port
        if port is None:
            return
        try:
            await self._main.listen(host, port)
        except OSError as error:
            self._logger.warning("sibling_port_taken", port=port, error=str(error))

    def _report(self, due_s: float) -> None:
        now_s = time.monotonic()
        self._snapshot.update(self._stats.report(now_s), now_s)
        # A tick that was late does not move those after it; ticks that were missed altogether are left out.
        due_s = max(due_s + _TICK_S, self._loop.time())
        self._tick = self._loop.call_at(due_s, self._report, due_s)

    def _wait_for_drain(self) -> None:
        self._drain.begin(time.monotonic())
        if not self._is_terminating and self._take_back is None:
            self._take_back = self._loop.call_later(_TAKE_BACK_S, self._reconsider)

    def _reconsider(self) -> None:
        self._take_back = None
        if not self._is_terminating:
            self._drain.reset()
            self._waiters.release()


def _port(text: str) -> int:
    """A port that is no number is dialled as 0, which fails for each request, as in the original."""
    return int(text) if text.isdecimal() else 0
