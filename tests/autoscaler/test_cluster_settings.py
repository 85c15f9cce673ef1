"""`autoscaler.cluster_settings`: ConfigMaps applied live, bad ones refused."""

import json

from autoscaler.cluster_settings import ClusterSettings
from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from proxies.logs import Logger


class Followed:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.changes = 0
        self.refused: list[tuple[str, str]] = []
        self.settings = ClusterSettings(self._changed, self._refused, Logger("test", write=self.lines.append))

    def apply(self, name: str, data: dict[str, str], *, old: dict[str, str] | None = None) -> None:
        before = None if old is None else ConfigMap(metadata=ObjectMeta(name=name), data=old)
        self.settings.take(before, ConfigMap(metadata=ObjectMeta(name=name), data=data))

    def events(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.lines]

    def _changed(self) -> None:
        self.changes += 1

    def _refused(self, config_map: ConfigMap, problem: str) -> None:
        self.refused.append((config_map.name, problem))


def test_a_good_map_is_applied() -> None:
    followed = Followed()
    followed.apply("config-autoscaler", {"stable-window": "6s"})
    assert followed.settings.autoscaler.stable_window_s == 6
    assert followed.changes == 1


def test_an_invalid_map_leaves_the_last_good_values() -> None:
    followed = Followed()
    followed.apply("config-autoscaler", {"stable-window": "6s"})
    followed.apply("config-autoscaler", {"stable-window": "1s"}, old={"stable-window": "6s"})
    assert followed.settings.autoscaler.stable_window_s == 6
    assert followed.changes == 1
    assert followed.events() == ["config_applied", "config_invalid"]
    problem = "stable-window = 1s, must be in [6s; 1h0m0s] range"
    assert json.loads(followed.lines[-1])["problem"] == problem
    assert followed.refused == [("config-autoscaler", problem)]
    assert followed.settings.problems == [f"ConfigMap config-autoscaler: {problem}"]


def test_a_bad_version_is_told_once_and_its_correction_too() -> None:
    followed = Followed()
    good, bad, worse = {"stable-window": "6s"}, {"stable-window": "1s"}, {"stable-window": "2s"}
    followed.apply("config-autoscaler", good)
    followed.apply("config-autoscaler", bad, old=good)
    followed.apply("config-autoscaler", bad, old=bad)
    followed.apply("config-autoscaler", worse, old=bad)
    followed.apply("config-autoscaler", good, old=worse)
    assert followed.events() == ["config_applied", "config_invalid", "config_invalid", "config_applied"]
    assert len(followed.refused) == 2
    assert followed.settings.problems == []
    # Nothing that is in force has changed: no revision needs another look.
    assert followed.changes == 1


def test_a_map_that_is_deleted_leaves_its_values() -> None:
    followed = Followed()
    followed.apply("config-autoscaler", {"stable-window": "6s"})
    followed.settings.take(ConfigMap(metadata=ObjectMeta(name="config-autoscaler")), None)
    assert followed.settings.autoscaler.stable_window_s == 6


def test_the_progress_deadline_comes_from_the_deployments_map() -> None:
    followed = Followed()
    followed.apply("config-deployment", {"progress-deadline": "2m"})
    assert followed.settings.progress_deadline_s == 120
    for wrong in ("soon", "0s", "-1s", "1.5s"):
        followed.apply("config-deployment", {"progress-deadline": wrong}, old={"progress-deadline": "2m"})
        assert followed.settings.progress_deadline_s == 120
        assert followed.events()[-1] == "config_invalid"
    followed.apply("config-deployment", {"progressDeadline": "3m"})
    assert followed.settings.progress_deadline_s == 180


def test_maps_of_other_components_change_nothing() -> None:
    followed = Followed()
    followed.apply("config-domain", {"example.com": ""})
    assert (followed.changes, followed.lines) == (0, [])


def test_an_update_without_new_data_is_no_change() -> None:
    followed = Followed()
    data = {"stable-window": "6s"}
    followed.apply("config-autoscaler", data)
    followed.apply("config-autoscaler", data, old=data)
    assert followed.changes == 1
