"""Asks the stack's processes what became of events: their debug ports, as `knuv up` has written them down."""

import json
from pathlib import Path
from typing import Any

import aiohttp

from local_cluster.cli import Failure
from local_cluster.settings import default_state_dir

__all__ = ["ask", "debugged"]

_FILE = "eventing-debug.json"
_TIMEOUT_S = 30.0


def debugged(state_dir: Path | None) -> tuple[str, dict[str, str]]:
    """The token, and host:port of each process that can be asked. Raises `Failure`."""
    path = (state_dir or default_state_dir()) / _FILE
    try:
        told = json.loads(path.read_text())
        return str(told["token"]), dict(told["components"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Failure(
            f"{path} does not say whom to ask: no event has passed this stack yet, or it is not up, or its pods have "
            "networks of their own"
        ) from None


async def ask(state_dir: Path | None, component: str, method: str, path: str, query: dict[str, str]) -> dict[str, Any]:
    """What a process answers to a request. Raises `Failure` when that is not what was asked for."""
    token, addresses = debugged(state_dir)
    if component not in addresses:
        raise Failure(f"the {component} of this stack cannot be asked: there is none")
    url = f"http://{addresses[component]}{path}"
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, params=query, headers={"Authorization": f"Bearer {token}"}) as response,
        ):
            status, body = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Failure(f"the {component} does not answer at {url}: {error or type(error).__name__}") from error
    text = body.decode("utf-8", "replace").strip()
    if status == 404:
        raise Failure(f"the {component} of this stack cannot tell: {text}")
    if status != 200:
        raise Failure(f"the {component} answers {status}: {text}")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise Failure(f"the {component} answers at {url}, but not as expected (a JSON object): {text[:200]!r}")
    return answer
