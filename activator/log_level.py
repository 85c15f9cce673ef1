"""The level of our own log, as ConfigMap `config-logging` says at this moment: `loglevel.activator`.

Without that key the level of `zap-logger-config` holds, and `info` without either; what cannot be read changes nothing.
Source: knative.dev/pkg `logging/config.go`; spec activator.md 2.3.
"""

import json
from collections.abc import Mapping

from kube.client import Client
from kube.informer import Informer
from kube.models.core import ConfigMap
from proxies.logs import LEVELS, Logger

__all__ = ["LogLevel", "level_of"]

CONFIG_MAP = "config-logging"
"""Unless `CONFIG_LOGGING_NAME` names another."""
_KEY = "loglevel.activator"
_DEFAULT = "info"


def level_of(data: Mapping[str, str]) -> str | None:
    """Return the level that the map's data asks for; None when it cannot be read."""
    level: object = data.get(_KEY, "")
    if not level:
        try:
            zap = json.loads(data.get("zap-logger-config") or "{}")
        except ValueError:
            return None
        level = zap.get("level", _DEFAULT) if isinstance(zap, dict) else None
    return level.lower() if isinstance(level, str) and level.lower() in LEVELS else None


class LogLevel:
    """`start` follows the ConfigMap of that name, `stop` follows it no more."""

    def __init__(self, client: Client, log: Logger, *, namespace: str, name: str) -> None:
        self._log = log
        self._name = name
        self._config_maps = Informer(
            client, ConfigMap, namespace=namespace, field_selector=f"metadata.name={name}", log=log
        )
        self._config_maps.on_change(self._changed)

    async def start(self) -> None:
        """Return when the map was read, or is known not to exist."""
        await self._config_maps.start()

    async def stop(self) -> None:
        """Keep the level as it is."""
        await self._config_maps.stop()

    def _changed(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        level = level_of(new.data if new is not None else {})
        if level is None:
            self._log.warning("log_level_unreadable", config_map=self._name, expected="|".join(LEVELS))
        elif level != self._log.level:
            self._log.level = level
            self._log.info("log_level", level=level)
