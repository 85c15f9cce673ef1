"""Asks the stack's processes what became of events: their debug ports, as `knuv up` has written them down."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from local_cluster.cli import Failure
from local_cluster.event_doors import short_path
from local_cluster.settings import default_state_dir

__all__ = ["ask", "debugged"]

_FILE = "eventing-debug.json"
_TIMEOUT_S = 30.0
_DOOR = "unix:"


def debugged(state_dir: Path | None) -> tuple[str, dict[str, str]]:
    """The token, and host:port of each process that can be asked, or `unix:` and a socket's name. Raises `Failure`."""
    path = (state_dir or default_state_dir()) / _FILE
    try:
        told = json.loads(path.read_text())
        return str(told["token"]), dict(told["components"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Failure(f"{path} does not say whom to ask: no event has passed this stack yet, or it is not up") from None


async def ask(
    state_dir: Path | None, component: str, method: str, path: str, query: dict[str, str], wanted: str
) -> Any:
    """What a process answers to a request, under the key `wanted`. Raises `Failure` when there is no such thing."""
    token, addresses = debugged(state_dir)
    if component not in addresses:
        raise Failure(f"the {component} of this stack cannot be asked: there is none")
    address = addresses[component]
    url = f"http://{'localhost' if address.startswith(_DOOR) else address}{path}"
    try:
        async with (
            _session(state_dir, address) as session,
            session.request(method, url, params=query, headers={"Authorization": f"Bearer {token}"}) as response,
        ):
            status, body = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Failure(f"the {component} does not answer at {address}: {error or type(error).__name__}") from error
    text = body.decode("utf-8", "replace").strip()
    if status == 404:
        raise Failure(f"the {component} of this stack cannot tell: {text}")
    if status != 200:
        raise Failure(f"the {component} answers {status}: {text}")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or wanted not in answer:
        expected = f"a JSON object with {wanted!r}"
        raise Failure(f"the {component} answers at {address}, but not as expected ({expected}): {text[:200]!r}")
    return answer[wanted]


@asynccontextmanager
async def _session(state_dir: Path | None, address: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client for host:port, or for a socket in the state directory (`event_doors`). Raises `OSError`."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    if not address.startswith(_DOOR):
        async with aiohttp.ClientSession(timeout=timeout) as session:
            yield session
        return
    with short_path((state_dir or default_state_dir()) / address.removeprefix(_DOOR)) as path:
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.UnixConnector(path)) as session:
            yield session
