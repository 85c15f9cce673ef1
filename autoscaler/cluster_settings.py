"""The ConfigMaps that the autoscaler follows: the last good state of each, applied without a restart.

A map that becomes invalid is reported once per version, and the values in force stay. Source:
`knative.dev/pkg/configmap`; spec autoscaler.md 9.1.
"""

from collections.abc import Callable

from kube.autoscaling.config import AutoscalerConfig, InvalidConfig
from kube.models.core import ConfigMap
from proxies import gotext
from proxies.logs import Logger

__all__ = ["AUTOSCALER", "DEPLOYMENT", "NETWORK", "ClusterSettings"]

AUTOSCALER = "config-autoscaler"
DEPLOYMENT = "config-deployment"
NETWORK = "config-network"
_PROGRESS_DEADLINE_S = 600.0


class ClusterSettings:
    """The settings in force. `on_change` is called after they changed."""

    def __init__(self, on_change: Callable[[], None], log: Logger) -> None:
        self._on_change = on_change
        self._log = log
        self.autoscaler = AutoscalerConfig()
        self.progress_deadline_s = _PROGRESS_DEADLINE_S

    def take(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        """A ConfigMap appeared, changed or went; one that is gone keeps its last values."""
        if new is None or (old is not None and old.data == new.data):
            return
        before = self.autoscaler, self.progress_deadline_s
        try:
            if new.metadata.name == AUTOSCALER:
                self.autoscaler = AutoscalerConfig.from_data(new.data)
            elif new.metadata.name == DEPLOYMENT:
                self.progress_deadline_s = _progress_deadline_s(new.data)
        except InvalidConfig as error:
            self._log.error("config_invalid", config_map=new.metadata.name, problem=str(error))
        if (self.autoscaler, self.progress_deadline_s) != before:
            self._log.info("config_applied", config_map=new.metadata.name)
            self._on_change()


def _progress_deadline_s(data: dict[str, str]) -> float:
    text = data.get("progress-deadline")
    if text is None:
        return _PROGRESS_DEADLINE_S
    try:
        deadline_s = gotext.parse_duration_s(text)
    except ValueError as error:
        raise InvalidConfig(f"progress-deadline: {error}") from error
    if deadline_s <= 0:
        raise InvalidConfig(f"progress-deadline: expected a positive duration, got {text}")
    return deadline_s
