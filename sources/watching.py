"""Follows one collection of the API and hands on every change, in its order.

The list says only from where to watch: what is there already, and what happened while nobody watched for too long, is
no news (spec eventing-sources.md 3.3). A watch that ends is resumed behind the last event that was handed on, so a
connection that breaks loses nothing; a version that the server no longer knows (410) means to begin anew, and the log
says so, since changes may be lost then.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable, Gone
from proxies.logs import Logger

__all__ = ["Watcher"]

_BACKOFF_FIRST_S: Final = 0.05
_BACKOFF_MAX_S: Final = 10.0
_FAILURES_MAX: Final = 8
_WATCH_LEAST_S: Final = 1.0
"""A server, or a proxy before it, whose watches end earlier and without a change would be asked in a circle."""

Handle = Callable[[str, dict[str, Any], bytes], Awaitable[None]]


class Watcher:
    """One collection, by its REST path. `handle(type, object, raw)` is awaited for each change."""

    def __init__(
        self, client: Client, path: str, *, label_selector: str, handle: Handle, fails_fast: bool, log: Logger
    ) -> None:
        """`fails_fast`: one list and one watch are tried; `run` then ends with what went wrong."""
        self._client = client
        self._path = path
        self._label_selector = label_selector
        self._handle = handle
        self._fails_fast = fails_fast
        self._log = log.bind(path=path)
        self._version = ""

    async def begin(self) -> None:
        """Let changes count from now on. Raises `ApiError` or `ApiUnreachable`; `run` tries again then."""
        params = {"limit": "1", **({"labelSelector": self._label_selector} if self._label_selector else {})}
        page = json.loads(await self._client.raw("GET", self._path, params=params))
        self._version = str(page["metadata"]["resourceVersion"])

    async def run(self) -> None:
        """Follow for ever. Raises `ApiError` or `ApiUnreachable` only when it fails fast."""
        backoff_s = _BACKOFF_FIRST_S
        failures = 0
        while True:
            try:
                if not self._version:
                    await self.begin()
                if not await self._watch() and not self._fails_fast:
                    backoff_s = await _pause(backoff_s)
                    continue
                if failures:
                    self._log.info("watch_regained")
                backoff_s, failures = _BACKOFF_FIRST_S, 0
                if self._fails_fast:
                    raise ApiUnreachable(f"the watch of {self._path} ended")
            except Gone as error:
                if self._fails_fast:
                    raise
                self._log.warning("changes_may_be_lost", error=str(error))
                self._version = ""
                backoff_s = await _pause(backoff_s)
            except (ApiError, ApiUnreachable) as error:
                if self._fails_fast:
                    raise
                failures += 1
                if failures == 1:
                    self._log.warning("watch_lost", error=str(error))
                if failures == _FAILURES_MAX and self._version and isinstance(error, ApiError):
                    # A server that was set back refuses a version that it has not reached for ever.
                    self._log.warning("changes_may_be_lost", error=str(error))
                    self._version = ""
                backoff_s = await _pause(backoff_s)

    async def _watch(self) -> bool:
        """Follow until the watch ends; whether it was any good. Raises `ApiError` or `ApiUnreachable`."""
        began_s, is_silent = time.monotonic(), True
        events = self._client.watch_raw(self._path, resource_version=self._version, label_selector=self._label_selector)
        async with contextlib.aclosing(events):
            async for type_, raw in events:
                is_silent = False
                whole = bytes(raw)
                obj = json.loads(whole)
                await self._handle(type_, obj, whole)
                self._version = str(obj["metadata"]["resourceVersion"])
        return not is_silent or time.monotonic() - began_s >= _WATCH_LEAST_S


async def _pause(backoff_s: float) -> float:
    """Wait before the next try; how long to wait before the one after."""
    await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
    return min(backoff_s * 2, _BACKOFF_MAX_S)
