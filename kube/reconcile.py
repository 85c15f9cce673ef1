"""The loop of a controller: keys in, one reconcile at a time per key, retries with back-off.

Pure part: `KeyQueue` (which key is due when, which is being worked on). Shell: `Loop` (tasks, clock). A key that is
added while it is being worked on is worked on once more afterwards, so a change is never missed and never handled twice
at once.
"""

import asyncio
import enum
import functools
import heapq
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from kube.errors import ApiUnreachable, Conflict, TooManyRequests
from proxies.logs import Logger

__all__ = ["KeyQueue", "Loop", "Observer", "Outcome"]

K = TypeVar("K", bound=Hashable)
C = TypeVar("C", bound=Hashable, contravariant=True)

_RETRY_FIRST_S = 0.005
_RETRY_MAX_S = 60.0


class Outcome(enum.Enum):
    """How the work on a key ended."""

    SUCCESS = "success"
    CONFLICT = "conflict"
    """Somebody else was faster, or the API is away or has too much to do: it is tried again, and nobody has to act."""
    FAILURE = "failure"
    """It is tried again, later and later."""
    CANCELLED = "cancelled"
    """The loop was stopped."""


class Observer(Protocol[C]):
    """Is told of each key that waits, is worked on, is done."""

    def due(self, key: C) -> None: ...

    def begun(self, key: C) -> None: ...

    def ended(self, key: C, outcome: Outcome) -> None: ...


class KeyQueue(Generic[K]):
    """Which keys are due. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self.on_due: Callable[[K], None] | None = None
        """Told of each key that becomes due."""
        self._due: deque[K] = deque()
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._later: list[tuple[float, int, K]] = []
        self._later_at: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._order = itertools.count()

    def add(self, key: K) -> None:
        """Make `key` due now; nothing happens when it already is."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._due.append(key)
            if self.on_due is not None:
                self.on_due(key)

    def add_at(self, key: K, at_s: float) -> None:
        """Make `key` due at `at_s`; of several such wishes the earliest counts."""
        known = self._later_at.get(key)
        if known is None or at_s < known:
            self._later_at[key] = at_s
            heapq.heappush(self._later, (at_s, next(self._order), key))

    def retry_at(self, key: K, now_s: float, least_s: float = 0.0) -> float:
        """Schedule `key` after a failure: 5 ms doubling to 60 s, at least `least_s`. Returns the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay_s = min(max(_RETRY_FIRST_S * 2.0 ** min(failures, 30), least_s), _RETRY_MAX_S)
        self.add_at(key, now_s + delay_s)
        return delay_s

    def forget_failures(self, key: K) -> None:
        """Begin counting anew."""
        self._failures.pop(key, None)

    def take(self, now_s: float) -> K | None:
        """The next due key, which is then being worked on, or None."""
        while self._later and self._later[0][0] <= now_s:
            at_s, _, key = heapq.heappop(self._later)
            if self._later_at.get(key) == at_s:
                del self._later_at[key]
                self.add(key)
        if not self._due:
            return None
        key = self._due.popleft()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """The work on `key` ended; it becomes due again when it was added meanwhile."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    @property
    def depth(self) -> int:
        """How many keys are due."""
        return len(self._due)

    def next_at(self) -> float | None:
        """When the earliest later key becomes due, or None."""
        return self._later[0][0] if self._later else None


class Loop(Generic[K]):
    """Runs `reconcile(key)` for keys that were added, `workers` at a time.

    `reconcile` returns None, or seconds after which the key is wanted again. A `Conflict` or an API that is away or
    has too much to do is retried quietly; any other exception is logged with the key and retried. Keys that come while
    it does not work wait, or, with `forgets`, are dropped: whoever starts it again adds all that there are, and those
    that are gone would pile up.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        workers: int = 4,
        forgets: bool = False,
        log: Logger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._forgets = forgets
        self._reconcile = reconcile
        self._workers = workers
        self._log = log or Logger(name)
        self._clock = clock
        self._queue: KeyQueue[K] = KeyQueue()
        self._observer: Observer[K] | None = None
        self._running: set[asyncio.Task[Outcome]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._started = False

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return self._queue.depth

    def observe(self, observer: Observer[K]) -> None:
        """Tell `observer` of every key; before `start`."""
        self._observer = observer
        self._queue.on_due = observer.due

    def start(self) -> None:
        """Begin to work, with the keys that wait."""
        self._started = True
        self._pump()

    async def stop(self) -> None:
        """Stop taking keys and end the work under way."""
        self._started = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def add(self, key: K) -> None:
        """Reconcile `key` as soon as a worker is free."""
        if self._started or not self._forgets:
            self._queue.add(key)
            self._pump()

    def add_after(self, key: K, delay_s: float) -> None:
        """Reconcile `key` in `delay_s` seconds, unless it is wanted earlier anyway."""
        if self._started or not self._forgets:
            self._queue.add_at(key, self._clock() + delay_s)
            self._pump()

    def _pump(self) -> None:
        if not self._started:
            return
        while len(self._running) < self._workers:
            key = self._queue.take(self._clock())
            if key is None:
                break
            if self._observer is not None:
                self._observer.begun(key)
            task = asyncio.get_running_loop().create_task(self._work(key), name=f"{self.name} {key}")
            task.add_done_callback(functools.partial(self._worked, key))
            self._running.add(task)
        at_s = self._queue.next_at()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at_s - self._clock()), self._pump)

    async def _work(self, key: K) -> Outcome:
        try:
            again_s = await self._reconcile(key)
        except (Conflict, ApiUnreachable):
            self._queue.retry_at(key, self._clock())
            return Outcome.CONFLICT
        except TooManyRequests as error:
            self._queue.retry_at(key, self._clock(), error.retry_after_s or 0.0)
            return Outcome.CONFLICT
        except Exception as error:  # noqa: BLE001 - one key's failure must not stop the others; it is logged and retried
            retry_s = self._queue.retry_at(key, self._clock())
            self._log.exception("reconcile_failed", error, key=str(key), retry_s=retry_s)
            return Outcome.FAILURE
        self._queue.forget_failures(key)
        if again_s is not None:
            self._queue.add_at(key, self._clock() + again_s)
        return Outcome.SUCCESS

    def _worked(self, key: K, task: "asyncio.Task[Outcome]") -> None:
        """A task ended; one that was cancelled may never have begun."""
        self._running.discard(task)
        if self._observer is not None:
            self._observer.ended(key, Outcome.CANCELLED if task.cancelled() else task.result())
        self._queue.done(key)
        self._pump()
