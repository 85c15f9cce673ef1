"""The ConfigMaps that the autoscaler follows: the last good state of each, applied without a restart.

A map that becomes invalid leaves the values in force as they are, and is reported once per version: a log line, and an
event on the map for whoever wrote it. A map that was never good cannot be replaced by anything: the autoscaler does not
start on it, since defaults in its place could take pods away. Source: `knative.dev/pkg/configmap`; spec autoscaler.md
9.1, control-plane.md 11.
"""

from collections.abc import Callable, Mapping

from kube.autoscaling.config import AutoscalerConfig, InvalidConfig
from kube.models.core import ConfigMap
from proxies import gotext
from proxies.logs import Logger

__all__ = ["AUTOSCALER", "DEPLOYMENT", "NETWORK", "ClusterSettings"]

AUTOSCALER = "config-autoscaler"
DEPLOYMENT = "config-deployment"
NETWORK = "config-network"

_PROGRESS_DEADLINE_S = 600.0
_PROGRESS_DEADLINE = ("progress-deadline", "progressDeadline")
"""The key and its old spelling; the first that is there counts."""


class ClusterSettings:
    """The settings in force. `on_change()` is called after they changed, `on_refusal(config_map, problem)` when a
    version cannot be used."""

    def __init__(
        self, on_change: Callable[[], None], on_refusal: Callable[[ConfigMap, str], None], log: Logger
    ) -> None:
        self._on_change = on_change
        self._on_refusal = on_refusal
        self._log = log
        self._invalid: dict[str, str] = {}
        """What is wrong with the present version of a map, by its name."""
        self.autoscaler = AutoscalerConfig()
        self.progress_deadline_s = _PROGRESS_DEADLINE_S

    @property
    def problems(self) -> list[str]:
        """What is wrong with the maps as they are, a line for each; empty when nothing."""
        return [f"ConfigMap {name}: {problem}" for name, problem in self._invalid.items()]

    def take(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        """A ConfigMap appeared, changed or went; one that is gone keeps its last values."""
        if new is None or (old is not None and old.data == new.data):
            return
        name = new.metadata.name
        before = self.autoscaler, self.progress_deadline_s
        try:
            if name == AUTOSCALER:
                self.autoscaler = AutoscalerConfig.from_data(new.data)
            elif name == DEPLOYMENT:
                self.progress_deadline_s = _progress_deadline_s(new.data)
        except InvalidConfig as error:
            self._invalid[name] = str(error)
            self._log.error("config_invalid", config_map=name, problem=str(error), kept="last good values")
            self._on_refusal(new, str(error))
            return
        was_invalid = self._invalid.pop(name, None) is not None
        has_changed = (self.autoscaler, self.progress_deadline_s) != before
        if was_invalid or has_changed:
            self._log.info("config_applied", config_map=name)
        if has_changed:
            self._on_change()


def _progress_deadline_s(data: Mapping[str, str]) -> float:
    text = next((data[key] for key in _PROGRESS_DEADLINE if key in data), None)
    if text is None:
        return _PROGRESS_DEADLINE_S
    try:
        deadline_s = gotext.parse_duration_s(text)
    except ValueError as error:
        raise InvalidConfig(f"progress-deadline: {error}") from error
    if deadline_s <= 0:
        raise InvalidConfig(
            f"progress-deadline cannot be a non-positive duration, was {gotext.format_duration(deadline_s)}"
        )
    if deadline_s % 1:
        raise InvalidConfig(
            f"ProgressDeadline must be rounded to a whole second, was: {gotext.format_duration(deadline_s)}"
        )
    return deadline_s
