"""The level of a service's own log, as ConfigMap `config-logging` says at this moment: `loglevel.<component>`.

Without that key the level of `zap-logger-config` holds, and `info` without either; what cannot be read changes nothing.
Source: knative.dev/pkg `logging/config.go`; spec activator.md 2.3, autoscaler.md 9.
"""

import json
from collections.abc import Mapping

from kube.models.core import ConfigMap
from proxies.logs import LEVELS, Logger

__all__ = ["CONFIG_MAP", "LogLevel", "level_of"]

CONFIG_MAP = "config-logging"
"""Unless `CONFIG_LOGGING_NAME` names another."""
_DEFAULT = "info"


def level_of(data: Mapping[str, str], component: str) -> str | None:
    """Return the level that the map's data asks for; None when it cannot be read."""
    level: object = data.get(f"loglevel.{component}", "")
    if not level:
        try:
            zap = json.loads(data.get("zap-logger-config") or "{}")
        except ValueError:
            return None
        level = zap.get("level", _DEFAULT) if isinstance(zap, dict) else None
    return level.lower() if isinstance(level, str) and level.lower() in LEVELS else None


class LogLevel:
    """Sets the level of `log` as the map named `config_map` says; `take` is for an informer that sees that map."""

    def __init__(self, log: Logger, *, component: str, config_map: str) -> None:
        self._log = log
        self._component = component
        self._config_map = config_map

    def take(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        """A ConfigMap appeared, changed or went; other maps are none of our business."""
        changed = new or old
        if changed is None or changed.name != self._config_map:
            return
        level = level_of(new.data if new is not None else {}, self._component)
        if level is None:
            self._log.warning("log_level_unreadable", config_map=self._config_map, expected="|".join(LEVELS))
        elif level != self._log.level:
            self._log.level = level
            self._log.info("log_level", level=level)
