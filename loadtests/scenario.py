"""Driving a stack from outside, as its users do: for the demo, the cold-start benchmark and the system tests."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from kube.client import Client
from kube.models.apps import Deployment
from kube.models.core import Pod
from kube.models.networking import ServerlessService
from local_cluster.settings import StackInfo

__all__ = ["RunningStack", "Seen", "StackState", "until"]

T = TypeVar("T")


async def until(probe: Callable[[], Awaitable[T | None]], seconds: float, what: str, every_s: float = 0.05) -> T:
    """The first answer of `probe` that is not None. Raises `TimeoutError` naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while (answer := await probe()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        await asyncio.sleep(every_s)
    return answer


class RunningStack:
    """`knuv up` as a process of its own, in `state_dir`; on any ports that are free unless told otherwise.

    `module`: another one than the command line's own, that does more than it.
    """

    def __init__(self, state_dir: Path, *arguments: str, http_port: int = 0, module: str = "local_cluster") -> None:
        self.state_dir = state_dir
        self._module = module
        self.http_port = http_port
        self.autoscaler_debug = ""
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self._output = state_dir / "knuv-up.out"

    @property
    def kubeconfig(self) -> Path:
        """Credentials of an administrator."""
        return self.state_dir / "kubeconfig"

    @property
    def pid(self) -> int:
        """Process id of `knuv up`."""
        assert self._process is not None
        return self._process.pid

    async def start(self, seconds: float = 90) -> None:
        """Return once the gateway answers. Raises `TimeoutError`, with what was printed, when it does not."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with self._output.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self._module, "up", "--state-dir", str(self.state_dir)),
                *("--http-port", str(self.http_port), *self._arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is ours to pass on, in our order
            )
        try:
            info = await until(self._info, seconds, "the stack to come up")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it said:\n{self.last_lines()}") from None
        self.http_port, self.autoscaler_debug = info.http_port, info.autoscaler_debug

    async def _info(self) -> StackInfo | None:
        assert self._process is not None
        if self._process.returncode is not None:
            raise TimeoutError(f"knuv up ended with {self._process.returncode}")
        info = StackInfo.load(self.state_dir)
        return info if info is not None and info.pid == self._process.pid else None

    async def stop(self) -> int | None:
        """Ctrl-C, then wait; the exit code. What does not end within a minute is killed."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        try:
            return await asyncio.wait_for(self._process.wait(), 60)
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        os.kill(self.pid, signal.SIGKILL)

    def last_lines(self, count: int = 20) -> str:
        """The end of what `knuv up` printed."""
        if not self._output.exists():
            return ""
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-count:])


@dataclass(frozen=True, slots=True)
class Seen:
    """One revision at one moment."""

    stable: float = 0.0
    """Concurrency averaged over the stable window."""
    panicking: bool = False
    desired: int = 0
    ready_pods: int = 0
    wanted_pods: int = 0
    """Replicas that the Deployment asks for."""
    mode: str = ""
    """Who stands behind the revision's name: proxy (activators) or serve (pods)."""


class StackState:
    """Reads what autoscaler and API say about one revision."""

    def __init__(self, client: Client, stack: RunningStack, namespace: str, revision: str) -> None:
        self._client = client
        self._stack = stack
        self._namespace = namespace
        self._revision = revision

    async def read(self) -> Seen:
        """The state now."""
        selector = f"serving.knative.dev/revision={self._revision}"
        pods = (await self._client.list(Pod, self._namespace, label_selector=selector)).items
        deployments = (await self._client.list(Deployment, self._namespace, label_selector=selector)).items
        service = await self._client.get(ServerlessService, self._revision, self._namespace)
        figures = await self._figures()
        return Seen(
            stable=float(figures.get("stable") or 0.0),
            panicking=bool(figures.get("panicking")),
            desired=int(figures.get("desired") or 0),
            ready_pods=sum(pod.is_ready() for pod in pods),
            wanted_pods=sum(1 if d.spec.replicas is None else d.spec.replicas for d in deployments),
            mode=service.spec.mode.lower(),
        )

    async def _figures(self) -> dict[str, Any]:
        url = f"http://{self._stack.autoscaler_debug}/debug/state"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            state = await response.json()
        for revision in state["revisions"]:
            if (revision["namespace"], revision["name"]) == (self._namespace, self._revision):
                return dict(revision)
        return {}
