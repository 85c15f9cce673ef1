"""A small real cluster for tests: API server, and the node and workload controllers that a test asks for.

Nothing is faked: pods are processes, everything talks HTTPS. Subnets are claimed, so that tests run side by side.
"""

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from kube.client import Client
from kube.errors import NotFound
from kube.models.core import Pod
from kube.models.meta import Resource
from local_cluster.guardian import Guardian
from local_cluster.node.app import Node, NodeConfig
from local_cluster.node.launch import ApiAccess
from local_cluster.subnet import Subnet
from local_cluster.workloads.app import Workloads
from proxies.logs import Logger
from tests.support.api import RunningApiServer, running_api_server
from tests.support.processes import eventually

__all__ = ["Cluster", "running_cluster"]

R = TypeVar("R", bound=Resource)
JsonObject = dict[str, Any]


class Cluster:
    """What a test talks to. Objects are plain dicts, as a user would write them."""

    def __init__(self, api: RunningApiServer, client: Client, state_dir: Path) -> None:
        self.api = api
        self.client = client
        self.state_dir = state_dir
        self.logged: list[JsonObject] = []
        """Log lines of node and controllers."""
        self.log = Logger("test", write=lambda line: self.logged.append(json.loads(line)))
        self.node: Node | None = None

    async def start_node(self) -> None:
        """Begin to run pods, where the test did not want that from the start."""
        assert self.node is not None
        await self.node.start()

    async def create(self, kind: type[Resource], name: str, **parts: Any) -> JsonObject:
        """POST; `metadata` may be given in part."""
        metadata = {"name": name, "namespace": "default", **parts.pop("metadata", {})}
        info = kind.RESOURCE
        body = {"apiVersion": info.api_version, "kind": info.kind, "metadata": metadata, **parts}
        answer = await self.client.raw("POST", info.path(metadata["namespace"]), body=json.dumps(body).encode())
        created: JsonObject = json.loads(answer)
        return created

    async def create_pod(self, name: str, *containers: JsonObject, **spec: Any) -> JsonObject:
        """A pod on the node `local`; containers without a name are called `c`."""
        named = [{"name": "c", "image": "dev.local/test", **container} for container in containers]
        return await self.create(Pod, name, spec={"nodeName": "local", "containers": named, **spec})

    async def raw(self, kind: type[Resource], name: str) -> JsonObject:
        """One object as it is stored."""
        found: JsonObject = json.loads(await self.client.raw("GET", kind.RESOURCE.path("default", name)))
        return found

    async def get(self, kind: type[R], name: str) -> R:
        """One object, decoded."""
        return await self.client.get(kind, name, "default")

    async def until(self, kind: type[R], name: str, holds: Callable[[R], object], *, timeout_s: float = 30.0) -> R:
        """The object once `holds` is true of it."""
        last: list[R] = []

        async def check() -> R | None:
            try:
                last[:] = [await self.get(kind, name)]
            except NotFound:
                return None
            return last[0] if holds(last[0]) else None

        try:
            found = await eventually(check, timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; {kind.RESOURCE.kind} is {last}") from None
        assert found is not None
        return found

    async def until_gone(self, kind: type[Resource], name: str, *, timeout_s: float = 30.0) -> None:
        """Wait until there is no such object."""

        async def check() -> bool:
            try:
                await self.client.get(kind, name, "default")
            except NotFound:
                return True
            return False

        await eventually(check, timeout_s=timeout_s)

    async def logs(self, pod: str, container: str = "c", **options: Any) -> str:
        """A container's log so far."""
        assert self.node is not None
        chunks = await self.node.read_logs("default", pod, container, **options)
        return b"".join([chunk async for chunk in chunks]).decode()

    def events(self, message: str) -> list[JsonObject]:
        """Log lines of one event name."""
        return [line for line in self.logged if line["message"] == message]


@asynccontextmanager
async def running_cluster(
    state_dir: Path, *, node: bool = True, workloads: bool = True, api: ApiAccess | None = None, **node_options: Any
) -> AsyncIterator[Cluster]:
    """Start the parts; at the end every process is gone."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_api_server())
        client = await stack.enter_async_context(Client(server.config))
        cluster = Cluster(server, client, state_dir)
        guardian = Guardian(cluster.log)
        await guardian.start()
        stack.push_async_callback(guardian.stop)
        subnet = Subnet.claim()
        stack.callback(subnet.release)
        options = {"environ": {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}, **node_options}
        config = NodeConfig(subnet=subnet.network, state_dir=state_dir, **{"working_dir": state_dir, **options})
        cluster.node = Node(client, config, guardian=guardian, api=api, log=cluster.log)
        stack.push_async_callback(cluster.node.stop)
        if node:
            await cluster.start_node()
        if workloads:
            controllers = Workloads(await stack.enter_async_context(Client(server.config)), log=cluster.log)
            await controllers.start()
            stack.push_async_callback(controllers.stop)
        yield cluster
