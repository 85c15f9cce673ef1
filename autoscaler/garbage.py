"""Keeping Python's garbage collector from stopping an autoscaler of many revisions.

Theory of operation. Nearly everything here is freed by reference counting. The collector, which looks for cycles, goes
through every object that could be part of one: 170 ms with 1,350 revisions and 5,000 pods, and that five times in four
seconds, because scrapes under way look to it like objects that are there to stay. So whatever is alive is *frozen*
every minute: taken out of its sight. Reference counting goes on freeing frozen objects; only cycles among them would
stay for ever, and for their sake everything is looked at once in a while.
"""

import asyncio
import gc
from typing import Final

__all__ = ["GarbageKeeper"]

_FIRST_S: Final = 5.0
"""What a start makes is there by then."""
_EVERY_S: Final = 60.0
_THAW_EVERY: Final = 60
"""Once an hour. Cycles that outlive a minute come from connections, of which few end per hour."""


class GarbageKeeper:
    """Freezes from `start` to `stop`."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._times = 0

    def start(self) -> None:
        """Begin; needs a running loop."""
        self._timer = asyncio.get_running_loop().call_later(_FIRST_S, self._freeze)

    def stop(self) -> None:
        """Leave everything to the collector again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.unfreeze()

    def _freeze(self) -> None:
        self._times += 1
        if self._times % _THAW_EVERY == 0:
            gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._freeze)
