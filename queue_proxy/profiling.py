"""What is served on the profiling port instead of Go's pprof: where time goes, what runs, what memory holds.

    GET /debug/pprof/                      what there is
    GET /debug/pprof/profile?seconds=10    the main thread's stack each 5 ms of processor time, as `frame;frame;frame
                                           count` lines, which flame graph tools read; 1 to 60 seconds, one at a time
    GET /debug/pprof/tasks                 every asyncio task and thread with its stack
    GET /debug/pprof/heap                  resident memory, the collector's figures, live objects by type

Open only while `runtime.profiling` is `enabled`. Loaded only then. Source: spec queue-proxy.md 3, 3.1.
"""

import asyncio
import gc
import signal
import sys
import threading
import traceback
from collections import Counter
from types import FrameType
from typing import Final
from urllib.parse import parse_qs

from proxies.exchange import Exchange
from proxies.logs import Logger
from proxies.messages import Answer
from proxies.server import Server

__all__ = ["ProfilingPort"]

_HEAD_TIMEOUT_S: Final = 15.0
_PREFIX: Final = b"/debug/pprof/"
_SECONDS: Final = (1.0, 60.0)
_SECONDS_DEFAULT: Final = 10.0
_SAMPLE_S: Final = 0.005
_STACKS_MAX: Final = 20_000
_TYPES_MAX: Final = 50
_DEPTH_MAX: Final = 100

_PLAIN: Final = b"text/plain; charset=utf-8"
_NOT_FOUND: Final = Answer(404, b"404 page not found\n", content_type=_PLAIN)
_BUSY: Final = Answer(503, b"a profile is being taken\n", content_type=_PLAIN, fields=[(b"Retry-After", b"10")])
_INDEX: Final = b"""profile?seconds=10  samples of the main thread, for flame graph tools
tasks               asyncio tasks and threads with their stacks
heap                memory by type
"""


class ProfilingPort:
    """`start` listens, `stop` ends the profile that is being taken and closes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, logger: Logger) -> None:
        self._policy = _ProfilingPolicy(loop)
        self._server = Server(loop, self._policy, logger, head_timeout_s=_HEAD_TIMEOUT_S, is_side_port=True)

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port. Raises `OSError` when it cannot be had."""
        return await self._server.listen(host, port)

    async def stop(self) -> None:
        """Listen no more."""
        self._policy.finish()
        await self._server.stop()


class _ProfilingPolicy:
    """Answers with what it sees of its own process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sampler: _StackSampler | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: Exchange | None = None

    def admit(self, exchange: Exchange) -> None:
        """Answer, or hold a profile's request until it is taken."""
        path, _, query = exchange.request.target.partition(b"?")
        page = path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else b"?"
        if exchange.request.method not in (b"GET", b"HEAD"):
            exchange.answer(Answer.error(405, "expected GET"))
        elif page == b"":
            exchange.answer(_text(_INDEX))
        elif page == b"profile":
            self._profile(exchange, query)
        elif page == b"tasks":
            exchange.answer(_text(_tasks(self._loop)))
        elif page == b"heap":
            exchange.answer(_text(_heap()))
        else:
            exchange.answer(_NOT_FOUND)

    def cancelled(self, exchange: Exchange) -> None:
        """Whoever asked for a profile has left; it is thrown away when it is there."""
        if self._waiting is exchange:
            self._waiting = None

    def ended(self, exchange: Exchange) -> None:
        """Nothing was taken."""

    def _profile(self, exchange: Exchange, query: bytes) -> None:
        if self._sampler is not None:
            exchange.answer(_BUSY)
            return
        try:
            seconds = float(parse_qs(query.decode("ascii")).get("seconds", [str(_SECONDS_DEFAULT)])[0])
        except ValueError:
            seconds = 0.0
        if not _SECONDS[0] <= seconds <= _SECONDS[1]:
            exchange.answer(Answer.error(400, f"seconds: expected {_SECONDS[0]:g} to {_SECONDS[1]:g}"))
            return
        self._waiting = exchange
        self._sampler = _StackSampler()
        self._sampler.start()
        self._timer = self._loop.call_later(seconds, self.finish)

    def finish(self) -> None:
        """End the profile that is being taken, if one is, and answer with it."""
        if self._sampler is None:
            return
        assert self._timer is not None
        self._timer.cancel()
        lines = self._sampler.stop()
        self._sampler = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.answer(_text(lines))


class _StackSampler:
    """Notes where the main thread is whenever it has used so much processor time; time that it waits does not count.

    By a signal: another thread would look only when the loop waits, which is when nothing is to be seen.
    """

    def __init__(self) -> None:
        self._stacks: Counter[str] = Counter()

    def start(self) -> None:
        """Begin. Only in the main thread."""
        signal.signal(signal.SIGPROF, self._note)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, _SAMPLE_S, _SAMPLE_S)

    def stop(self) -> bytes:
        """End, and return the lines, the most frequent first."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        return "".join(f"{stack} {count}\n" for stack, count in self._stacks.most_common()).encode()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if len(self._stacks) < _STACKS_MAX:
            self._stacks[_stack(frame)] += 1


def _stack(frame: FrameType | None) -> str:
    names: list[str] = []
    while frame is not None and len(names) < _DEPTH_MAX:
        code = frame.f_code
        names.append(f"{code.co_filename.rpartition('/')[2]}:{code.co_qualname}")
        frame = frame.f_back
    return ";".join(reversed(names))


def _tasks(loop: asyncio.AbstractEventLoop) -> bytes:
    parts: list[str] = []
    for task in sorted(asyncio.all_tasks(loop), key=lambda each: each.get_name()):
        parts.append(f"task {task.get_name()}\n")
        parts += [f"  {line}\n" for frame in task.get_stack() for line in _lines(frame)]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        parts.append(f"thread {names.get(ident, ident)}\n")
        parts += [f"  {line}\n" for line in _lines(frame)]
    return "".join(parts).encode()


def _lines(frame: FrameType) -> list[str]:
    return [f"{each.filename}:{each.lineno} {each.name}" for each in traceback.extract_stack(frame, _DEPTH_MAX)]


def _heap() -> bytes:
    with open("/proc/self/status") as status:
        resident = next((line for line in status if line.startswith("VmRSS")), "")
    objects = gc.get_objects()
    types = Counter(type(each).__qualname__ for each in objects)
    parts = [" ".join(resident.split()) + "\n", f"objects that the collector follows: {len(objects)}\n"]
    for number, figures in enumerate(gc.get_stats()):
        parts.append(f"generation {number}: {figures['collections']} collections, {figures['collected']} collected\n")
    parts += [f"{count:8} {name}\n" for name, count in types.most_common(_TYPES_MAX)]
    return "".join(parts).encode()


def _text(content: bytes) -> Answer:
    return Answer(200, content, content_type=_PLAIN)
