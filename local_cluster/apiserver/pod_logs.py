"""The parameters of `pods/{name}/log` and the hook that answers it."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from local_cluster.apiserver.errors import bad_request
from local_cluster.apiserver.requests import flag, whole_number

__all__ = ["LogOptions", "LogReader", "read_log_options"]


class LogReader(Protocol):
    """Reads a container's log; chunks of bytes, until the end or, with `follow`, until the container ends."""

    def __call__(
        self,
        namespace: str,
        pod: str,
        container: str,
        follow: bool,
        tail_lines: int | None,
        since_s: float | None,
        timestamps: bool,
        *,
        previous: bool,
    ) -> AsyncIterator[bytes] | Awaitable[AsyncIterator[bytes]]:
        """An async generator function, or a coroutine function that returns an async iterator.

        The latter may refuse with a `StatusError`, which then is the answer.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Which part of which log."""

    container: str
    follow: bool
    tail_lines: int | None
    """None: all."""
    since_s: float | None
    """Seconds before now; None: from the beginning."""
    timestamps: bool
    previous: bool
    """The log of the incarnation before the current one."""


def read_log_options(pod: dict[str, Any], query: Mapping[str, str]) -> LogOptions:
    """From the parameters; the container may be left out when the pod has one. Raises 400."""
    spec = pod.get("spec") or {}
    name = pod["metadata"]["name"]
    names = [str(c.get("name")) for field in ("containers", "initContainers") for c in spec.get(field) or []]
    container = query.get("container", "")
    if not container:
        if len(spec.get("containers") or []) != 1:
            raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]")
        container = names[0]
    if container not in names:
        raise bad_request(f"container {container} is not valid for pod {name}")
    since_s: float | None = None
    if query.get("sinceSeconds"):
        since_s = float(whole_number(query, "sinceSeconds"))
    elif query.get("sinceTime"):
        try:
            since = datetime.fromisoformat(query["sinceTime"])
        except ValueError as error:
            raise bad_request(f"sinceTime: expected an RFC 3339 time, got {query['sinceTime']!r}") from error
        since_s = max((datetime.now(UTC) - since.astimezone(UTC)).total_seconds(), 0.0)
    return LogOptions(
        container=container,
        follow=flag(query, "follow"),
        tail_lines=whole_number(query, "tailLines") if query.get("tailLines") else None,
        since_s=since_s,
        timestamps=flag(query, "timestamps"),
        previous=flag(query, "previous"),
    )
