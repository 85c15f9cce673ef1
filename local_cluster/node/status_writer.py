"""Writes one pod's status: the newest wins, one request is under way at a time, nothing is written twice."""

import asyncio
from collections.abc import Callable

import msgspec

from kube.client import Client
from kube.errors import ApiError, ApiUnreachable, Conflict, Invalid, NotFound
from kube.models.core import Pod, PodStatus

__all__ = ["StatusWriter"]

_RETRY_FIRST_S = 0.05
_RETRY_MAX_S = 5.0


class StatusWriter:
    """`build` gives the status of the moment; `wanted` says that it may have changed."""

    def __init__(self, client: Client, pod: Pod, build: Callable[[], PodStatus]) -> None:
        self._client = client
        self._pod = pod
        self._build = build
        self._written = b""
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._ends_with_removal = False
        self._is_gone = False

    def wanted(self) -> None:
        """Write the status unless it already stands in the API."""
        if self._is_gone:
            return
        self._again = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"status {self._pod.name}")

    def remove(self) -> None:
        """Delete the API object, after the last status was written."""
        self._ends_with_removal = True
        self.wanted()

    async def stop(self) -> None:
        """Stop writing."""
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def finished(self) -> None:
        """Wait for what is under way. Cancelling this cancels that."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        retry_s = _RETRY_FIRST_S
        while self._again and not self._is_gone:
            self._again = False
            try:
                await self._write()
                retry_s = _RETRY_FIRST_S
            except (NotFound, Conflict, Invalid):
                # The object is gone, or another of the same name took its place.
                self._is_gone = True
            except (ApiError, ApiUnreachable):
                self._again = True
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _RETRY_MAX_S)
        self._task = None

    async def _write(self) -> None:
        is_last = self._ends_with_removal
        pod = self._pod
        status = self._build()
        encoded = msgspec.json.encode(status)
        if encoded != self._written:
            operations = [
                {"op": "test", "path": "/metadata/uid", "value": pod.metadata.uid},
                {"op": "add", "path": "/status", "value": status},
            ]
            await self._client.patch(Pod, pod.name, pod.namespace, operations, type="json", subresource="status")
            self._written = encoded
        if is_last:
            await self._client.delete(Pod, pod.name, pod.namespace, uid=pod.metadata.uid, grace_period_s=0)
            self._is_gone = True
