"""Proof that a gateway serves a version: requests through it whose answers carry the version's hash.

Pure: `verdict`. Shell: `Prober`, which probes the hosts of one Ingress until every one of them answers for it. Source:
`knative.dev/networking` `pkg/status`; spec ingress.md 4.4.
"""

import asyncio
import enum
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from kube.addresses import Address
from kube.http_connection import BrokenConnection, HttpConnection, render_request

__all__ = ["Prober", "Target", "Verdict", "verdict"]

_FIELDS = {
    "User-Agent": "Knative-Ingress-Probe",
    "K-Network-Probe": "probe",
    "K-Network-Hash": "override",
    "Connection": "close",
}
_PATIENCE_FIRST_S = 1.0
_PATIENCE_MAX_S = 10.0
"""A probe stands in the queue of all requests. Where all of them are answered late, a late answer proves as much, and
with a second for each try nothing new would ever be ready there."""
_RETRY_FIRST_S = 0.005
_RETRY_MAX_S = 30.0
_PARALLEL_MAX = 15
"""Of first tries, and again of patient ones, for which nobody else has to wait."""


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_UNVERIFIED = _unverified()
"""It is the version that is proved here, not the gateway's identity (4.4)."""


class Verdict(enum.Enum):
    """What an answer proves."""

    SERVED = "served"
    """The version answers, or somebody who does not know probes does: an app behind a login, a redirect."""
    RETRY = "retry"
    """Not this version yet."""


@dataclass(frozen=True, slots=True)
class Target:
    """One host at one face of the gateway."""

    address: str
    """host:port of the face."""
    host: str
    is_tls: bool = False
    """Whether the face speaks TLS; the certificate is not verified, only shown its name."""
    path: str = "/healthz"


def verdict(status: int, answered_hash: str | None, expected_hash: str) -> Verdict:
    """Judge one answer. Statuses that only an app can give count as served, or such apps would never become ready."""
    if status == 200:
        return Verdict.SERVED if answered_hash in (None, expected_hash) else Verdict.RETRY
    return Verdict.RETRY if status in (404, 503) else Verdict.SERVED


class Prober:
    """Probes; a connection per try, since each try must meet the newest configuration."""

    def __init__(self, patience_s: float = _PATIENCE_FIRST_S) -> None:
        """`patience_s`: how long the first tries wait for an answer."""
        self._patience_first_s = patience_s
        self._slots = asyncio.Semaphore(_PARALLEL_MAX)
        self._patient_slots = asyncio.Semaphore(_PARALLEL_MAX)

    async def probe_until_served(
        self, wanted: Iterable[Target], expected_hash: str, hurry: asyncio.Event | None = None
    ) -> None:
        """Return when every target answers for the version. Cancel to give up.

        `hurry`, set and cleared at once, ends pauses that have grown long: something has changed.
        """
        hurry = hurry or asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for target in wanted:
                group.create_task(self._until_served(target, expected_hash, hurry))

    async def _until_served(self, target: Target, expected_hash: str, hurry: asyncio.Event) -> None:
        retry_s, patience_s = _RETRY_FIRST_S, self._patience_first_s
        while True:
            try:
                if await self._probe(target, expected_hash, patience_s) is Verdict.SERVED:
                    return
            except TimeoutError:
                patience_s = min(patience_s * 2, _PATIENCE_MAX_S)
            try:
                async with asyncio.timeout(retry_s):
                    await hurry.wait()
            except TimeoutError:
                retry_s = min(retry_s * 2, _RETRY_MAX_S)
            else:
                retry_s = _RETRY_FIRST_S

    async def _probe(self, target: Target, expected_hash: str, patience_s: float) -> Verdict:
        """Ask once. Raises `TimeoutError` when no answer came in time."""
        async with self._slots if patience_s == self._patience_first_s else self._patient_slots:
            try:
                request = render_request("GET", target.path, {"Host": target.host, **_FIELDS})
                face, tls = Address.parse(target.address), _UNVERIFIED if target.is_tls else None
                async with asyncio.timeout(patience_s):
                    connection = await HttpConnection.open(face.host, face.port, tls=tls, server_name=target.host)
                    try:
                        head = await connection.ask(request)
                    finally:
                        connection.abort()
            except TimeoutError:
                raise
            except (BrokenConnection, OSError, ValueError):
                return Verdict.RETRY  # ValueError: a host that no request can be made for
        answered = next((field.value for field in head.fields if field.name == b"k-network-hash"), None)
        return verdict(head.status, None if answered is None else answered.decode("latin-1"), expected_hash)
