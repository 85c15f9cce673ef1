"""Which controllers one process runs, side by side: serving's, eventing's, and what is switched on beside them.

`KNUV_CONTROLLERS` names them by commas; without it serving's runs. Each has its own Lease; eventing's has a namespace
of its own. Their metrics are told together, as the first of them is told to. Only the service account
`eventing-controller` may write subscribers into channels, so eventing's is a process of its own wherever that is
checked.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping

from kube.service import Service
from proxies.environment import ConfigError

__all__ = ["make_controllers"]

_NAMES = ("serving", "eventing", "cert-manager", "gateway-api")


def make_controllers(environ: Mapping[str, str]) -> Service:
    """The service that runs what is wanted. Raises `ConfigError` with everything that is wrong."""
    text = environ.get("KNUV_CONTROLLERS", "serving")
    wanted = {name.strip() for name in text.split(",") if name.strip()}
    if not wanted or not wanted <= set(_NAMES):
        raise ConfigError([f"KNUV_CONTROLLERS={text!r}: expected some of {', '.join(_NAMES)}"])
    from controller.process_metrics import ProcessMetrics

    metrics = ProcessMetrics()
    parts: list[Service] = []
    if "serving" in wanted:
        from controller.app import App
        from controller.config import Config

        parts.append(App(Config.from_env(environ), metrics=metrics))
    if "eventing" in wanted:
        from controller.eventing.app import App as EventingApp
        from controller.eventing.config import EventingConfig

        parts.append(EventingApp(EventingConfig.from_env(environ, is_alone=wanted == {"eventing"}), metrics=metrics))
    if "cert-manager" in wanted:
        from controller.cert_manager.app import CertManagerBridge
        from controller.config import Config

        parts.append(CertManagerBridge(Config.from_env(environ), metrics=metrics))
    if "gateway-api" in wanted:
        from controller.config import Config
        from controller.gateway_api.app import GatewayApi

        parts.append(GatewayApi(Config.from_env(environ), metrics=metrics))
    return parts[0] if len(parts) == 1 else _Together(parts)


class _Together:
    """Several services as one."""

    def __init__(self, parts: list[Service]) -> None:
        self._parts = parts

    async def start(self) -> None:
        """Start them one after the other; the first that cannot ends it."""
        for part in self._parts:
            await part.start()

    async def drain(self) -> None:
        """Stop acting, all at once: each gives its Lease back, and may have to wait for that."""
        await _all(part.drain() for part in self._parts)

    async def stop(self) -> None:
        """End everything, in any state."""
        await _all(part.stop() for part in self._parts)


async def _all(steps: Iterable[Awaitable[None]]) -> None:
    """Do all of them, whatever becomes of one; then raise what the first one raised that did."""
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if outcome is not None:
            raise outcome
