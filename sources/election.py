"""Which replica of a source acts: the holder of a Lease, unless `--disable-ha` says that there is only one.

Source: spec eventing-sources.md 1.2. `K_LEADER_ELECTION_CONFIG` is a Go struct in JSON: durations are nanoseconds.
"""

import json
from collections.abc import Callable
from typing import Final

from kube.client import Client
from kube.election.elector import Elector
from kube.election.settings import LeaseTiming
from kube.informer import Informer
from kube.models.coordination import Lease
from proxies.logs import Logger

__all__ = ["Leadership", "parse_timing"]

_DEFAULT: Final = LeaseTiming(duration_s=15, renew_deadline_s=10, retry_s=2)
_NANOSECONDS: Final = 1e9


def parse_timing(text: str) -> LeaseTiming:
    """Read `K_LEADER_ELECTION_CONFIG`; what is missing or zero has its default. Raises `ValueError`."""
    content = json.loads(text) if text.strip() else {}
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object")
    values = {str(key).lower(): value for key, value in content.items()}

    def seconds(key: str, default: float) -> float:
        value = values.get(key) or 0
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{key}: expected nanoseconds, got {str(value)[:64]}")
        return value / _NANOSECONDS or default

    return LeaseTiming(
        duration_s=seconds("leaseduration", _DEFAULT.duration_s),
        renew_deadline_s=seconds("renewdeadline", _DEFAULT.renew_deadline_s),
        retry_s=seconds("retryperiod", _DEFAULT.retry_s),
    )


class Leadership:
    """One candidate for one Lease. `on_change(True)` when we may act, `on_change(False)` when no longer."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: LeaseTiming,
        on_change: Callable[[bool], None],
        log: Logger,
    ) -> None:
        self._name = name
        self._leases = Informer(client, Lease, namespace=namespace, log=log)
        self._elector = Elector(
            client,
            self._leases,
            namespace=namespace,
            names=[name],
            identity=identity,
            timing=timing,
            on_acquired=lambda _name: on_change(True),
            on_lost=lambda _name: on_change(False),
            log=log,
        )

    @property
    def is_held(self) -> bool:
        """Whether we may act at this moment."""
        return self._elector.holds(self._name)

    async def start(self) -> None:
        """Contend; returns when the Lease was looked at."""
        await self._leases.start()
        await self._elector.start()

    async def stop(self) -> None:
        """Stop acting, and release the Lease."""
        await self._elector.stop()
        await self._leases.stop()
