"""The Service and EndpointSlice of a bucket, which lead to the replica that holds it.

Whoever cannot reach pods by their own addresses, because of a mesh, finds the holder by the bucket's name. The holder
writes both when it acquires the Lease. Source: knative/serving `pkg/autoscaler/statforwarder/leases.go`; spec
autoscaler.md 8.5.
"""

import asyncio
import ipaddress
from collections.abc import Callable

from kube.client import Client
from kube.errors import AlreadyExists, ApiError, ApiUnreachable
from kube.models.core import EndpointPort, Service, ServicePort, ServiceSpec
from kube.models.discovery import SERVICE_NAME_LABEL, Endpoint, EndpointConditions, EndpointSlice
from kube.models.meta import ObjectMeta
from proxies.logs import Logger

__all__ = ["BucketServices"]

_PORT_NAME = "http"
_PORT = 8080
_RETRY_S = 0.1
_QUICK_TRIES = 30
_SLOW_RETRY_S = 10.0


class BucketServices:
    """Writes for the replica at `pod_ip`, whose stat server listens on `port`."""

    def __init__(self, client: Client, *, namespace: str, pod_ip: str, port: int, log: Logger) -> None:
        self._client = client
        self._namespace = namespace
        self._pod_ip = pod_ip
        self._port = port
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def publish(self, bucket: str, *, while_true: Callable[[], bool]) -> asyncio.Task[None]:
        """Write both in the background, and keep trying as long as `while_true` says so; the task that does it."""
        before = self._tasks.get(bucket)
        if before is not None:
            before.cancel()
        task = asyncio.get_running_loop().create_task(self._publish(bucket, while_true), name=f"publish {bucket}")
        self._tasks[bucket] = task
        return task

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _publish(self, bucket: str, while_true: Callable[[], bool]) -> None:
        tries = 0
        while while_true():
            try:
                await self._write_service(bucket)
                await self._write_slice(bucket)
            except (ApiError, ApiUnreachable) as error:
                tries += 1
                if tries == _QUICK_TRIES:
                    self._log.error("bucket_service_not_written", bucket=bucket, error=str(error))
                await asyncio.sleep(_RETRY_S if tries < _QUICK_TRIES else _SLOW_RETRY_S)
            else:
                return

    async def _write_service(self, bucket: str) -> None:
        """A Service that exists is left alone, as in the original."""
        port = ServicePort(name=_PORT_NAME, port=_PORT, target_port=self._port)
        wanted = Service(metadata=self._metadata(bucket), spec=ServiceSpec(ports=[port]))
        try:
            await self._client.create(wanted)
        except AlreadyExists:
            return

    async def _write_slice(self, bucket: str) -> None:
        version = ipaddress.ip_address(self._pod_ip).version
        conditions = EndpointConditions(ready=True, serving=True, terminating=False)
        wanted = EndpointSlice(
            metadata=self._metadata(bucket),
            address_type=f"IPv{version}",
            endpoints=[Endpoint(addresses=[self._pod_ip], conditions=conditions)],
            ports=[EndpointPort(name=_PORT_NAME, port=self._port)],
        )
        wanted.metadata.labels = {SERVICE_NAME_LABEL: bucket}
        try:
            await self._client.create(wanted)
        except AlreadyExists:
            await self._replace_slice(wanted)

    async def _replace_slice(self, wanted: EndpointSlice) -> None:
        """Lead to us instead of the holder before us."""
        bucket = wanted.metadata.name
        present = await self._client.get(EndpointSlice, bucket, self._namespace)
        if present.address_type != wanted.address_type:
            # The one field that cannot be changed.
            await self._client.delete(EndpointSlice, bucket, self._namespace, uid=present.metadata.uid)
            await self._client.create(wanted)
        elif present.endpoints != wanted.endpoints or present.ports != wanted.ports:
            patch = {
                "metadata": {"resourceVersion": present.metadata.resource_version, "labels": wanted.metadata.labels},
                "endpoints": wanted.endpoints,
                "ports": wanted.ports,
            }
            await self._client.patch(EndpointSlice, bucket, self._namespace, patch)

    def _metadata(self, bucket: str) -> ObjectMeta:
        return ObjectMeta(name=bucket, namespace=self._namespace)
