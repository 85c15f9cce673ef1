"""Settings of simulations, from files and from options.

A settings file is YAML; every key may be left out:

    name: eager
    containerConcurrency: 10
    podStart: 2s                    # or [2s, 6s]
    config: {stable-window: 30s}    # keys of config-autoscaler
    annotations: {autoscaling.knative.dev/target: "8"}
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from autoscaler.settings import resolve
from autoscaler.simulation.load import seconds
from autoscaler.simulation.model import Setting
from kube.autoscaling.annotations import describe, problems
from kube.autoscaling.config import AutoscalerConfig, InvalidConfig

__all__ = ["SettingError", "make_setting", "read_config", "read_setting"]

_KEYS = frozenset({"name", "containerConcurrency", "podStart", "config", "annotations"})
POD_START = "4s"


class SettingError(ValueError):
    """Settings cannot be used; the text says which and why."""


def make_setting(
    name: str,
    *,
    config: Mapping[str, str],
    annotations: Mapping[str, str],
    container_concurrency: int = 0,
    pod_start: object = POD_START,
) -> Setting:
    """Return a setting. `pod_start`: a duration, or a list of the shortest and the longest. Raises `SettingError`."""
    try:
        cluster = AutoscalerConfig.from_data(config)
    except InvalidConfig as error:
        raise SettingError(f"{name}: config: {error}") from error
    if found := problems(annotations, cluster):
        raise SettingError(f"{name}: annotations: {describe(found)}")
    if container_concurrency < 0:
        raise SettingError(f"{name}: containerConcurrency: expected a number from 0 on, got {container_concurrency}")
    revision = resolve(
        annotations,
        container_concurrency=container_concurrency,
        reachability="Reachable",
        metrics_service="",
        config=cluster,
    )
    if revision.decider.scaling_metric not in ("concurrency", "rps"):
        raise SettingError(f"{name}: expected the metric concurrency or rps, got {revision.decider.scaling_metric}")
    return Setting(
        name=name,
        revision=revision,
        container_concurrency=container_concurrency,
        pod_start_s=_pod_start_s(name, pod_start),
    )


def read_setting(path: Path) -> Setting:
    """Return the setting in a file. Raises `SettingError`."""
    document = _mapping(path)
    unknown = set(document) - _KEYS
    if unknown:
        raise SettingError(f"{path}: unknown key {min(unknown)}; expected some of {', '.join(sorted(_KEYS))}")
    concurrency = document.get("containerConcurrency", 0)
    if not isinstance(concurrency, int) or isinstance(concurrency, bool):
        raise SettingError(f"{path}: containerConcurrency: expected a whole number, got {concurrency!r}")
    return make_setting(
        str(document.get("name") or path.stem),
        config=_texts(path, document, "config"),
        annotations=_texts(path, document, "annotations"),
        container_concurrency=concurrency,
        pod_start=document.get("podStart", POD_START),
    )


def read_config(path: Path) -> dict[str, str]:
    """Return the data of config-autoscaler: of a ConfigMap's manifest, or as plain keys. Raises `SettingError`."""
    document = _mapping(path)
    if document.get("kind") == "ConfigMap":
        return _texts(path, document, "data")
    return _texts(path, {"config": document}, "config")


def _mapping(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise SettingError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise SettingError(f"{path}: expected keys and values")
    return document


def _texts(path: Path, document: Mapping[str, Any], key: str) -> dict[str, str]:
    values = document.get(key) or {}
    if not isinstance(values, dict):
        raise SettingError(f"{path}: {key}: expected keys and values")
    # YAML reads 2.0 and true where the API has texts; what was meant is plain.
    return {str(name): _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pod_start_s(name: str, given: object) -> tuple[float, float]:
    both: Sequence[object] = given if isinstance(given, list) else [given]
    try:
        times = [seconds(each) for each in both]
    except ValueError as error:
        raise SettingError(f"{name}: podStart: {error}") from error
    if len(times) not in (1, 2) or times[0] > times[-1]:
        raise SettingError(f"{name}: podStart: expected a duration, or the shortest and the longest, got {given!r}")
    return times[0], times[-1]
