"""`autoscaler.metrics`: what is told, and `docs/autoscaler.md` as true as the code. What a scraper sees is in
`conformance/autoscaler/test_metrics.py`."""

import re
from pathlib import Path

from autoscaler.metrics import RevisionMetrics
from autoscaler.multiscaler import MultiScaler, RevisionKey
from autoscaler.pods import PodCounts
from autoscaler.settings import resolve
from kube.autoscaling.config import AutoscalerConfig
from kube.client import Client
from kube.config import ApiConfig
from kube.informer import Informer
from kube.models.autoscaling import PodAutoscaler
from kube.models.meta import ObjectMeta
from proxies.metrics.exposition import metric_name, render
from proxies.metrics.instruments import Registry

PAGE = Path(__file__).parents[2] / "docs" / "autoscaler.md"
T0 = 1_785_542_400.0


class Told:
    """Metrics of revisions that a test adds and takes away."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.scalers = MultiScaler(lambda key: 1)
        self.autoscalers = Informer(Client(ApiConfig(server="")), PodAutoscaler)
        self.metrics = RevisionMetrics(
            self.registry, scalers=self.scalers, autoscalers=self.autoscalers, pods=lambda key: PodCounts(ready=1)
        )
        self._version = 0

    def add(self, name: str, configuration: str = "hello") -> RevisionKey:
        """A revision, or another version of it."""
        settings = resolve({}, container_concurrency=0, reachability="", metrics_service="", config=AutoscalerConfig())
        key = ("default", name)
        self.scalers.put(key, settings.decider, settings.metric, T0, 0)
        self._version += 1
        labels = {"serving.knative.dev/configuration": configuration}
        metadata = ObjectMeta(name=name, namespace="default", labels=labels, resource_version=str(self._version))
        self.autoscalers.apply_local(PodAutoscaler(metadata=metadata))
        return key

    def lines(self, name: str) -> list[str]:
        """Lines of the series of that name."""
        return [line for line in render(self.registry).decode().splitlines() if line.startswith(f"{name}{{")]


def test_the_page_lists_every_instrument_and_no_other() -> None:
    rows = re.findall(r"^\| `([\w.]*)` \| `([\w]+)` \| (\w+) \|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    documented = {(name, prometheus, kind, unit.strip(" `")) for name, prometheus, kind, unit in rows}
    (scope,) = Told().registry.scopes
    assert documented == {
        (instrument.name, metric_name(instrument), instrument.kind.value, instrument.unit)
        for instrument in scope.instruments
    }


def test_each_revision_is_told_in_every_gauge_with_its_own_labels() -> None:
    told = Told()
    told.add("one", "a")
    told.add("two", "b")
    for _ in range(2):
        for gauge in ("kn_revision_pods_count", "kn_revision_concurrency_target"):
            first, second = told.lines(gauge)
            assert 'kn_configuration_name="a"' in first
            assert 'kn_revision_name="one"' in first
            assert 'kn_configuration_name="b"' in second


def test_labels_that_change_are_told_as_they_are() -> None:
    told = Told()
    told.add("one", "a")
    assert 'kn_configuration_name="a"' in told.lines("kn_revision_pods_count")[0]
    told.add("one", "b")
    (line,) = told.lines("kn_revision_pods_count")
    assert 'kn_configuration_name="b"' in line


def test_durations_are_told_as_long_as_their_configuration_has_a_revision() -> None:
    told = Told()
    first, second, other = told.add("first", "a"), told.add("second", "a"), told.add("other", "b")
    for key in (first, second, other):
        told.metrics.scraped(key, 0.1)
    assert len(told.lines("kn_autoscaler_scrape_duration_seconds_count")) == 2
    told.scalers.delete(other)
    told.scalers.delete(first)
    (line,) = told.lines("kn_autoscaler_scrape_duration_seconds_count")
    assert 'kn_configuration_name="a"' in line
    assert line.endswith(" 2")
    told.scalers.delete(second)
    assert told.lines("kn_autoscaler_scrape_duration_seconds_count") == []
    told.metrics.scraped(told.add("third", "a"), 0.1)
    assert told.lines("kn_autoscaler_scrape_duration_seconds_count")[0].endswith(" 1")


def test_revisions_that_come_and_go_leave_nothing_though_nobody_reads() -> None:
    told = Told()
    told.metrics.scraped(told.add("kept"), 0.1)
    for number in range(1000):
        key = told.add(f"gone-{number}", f"configuration-{number}")
        told.metrics.scraped(key, 0.1)
        told.scalers.delete(key)
    (instrument,) = (each for each in told.registry.scopes[0].instruments if each.name.startswith("kn.autoscaler"))
    assert len(list(instrument.all_series())) < 10
    (line,) = told.lines("kn_autoscaler_scrape_duration_seconds_count")
    assert line.endswith(" 1")


def test_a_scrape_of_an_unknown_revision_is_not_told() -> None:
    told = Told()
    told.metrics.scraped(("default", "nobody"), 0.1)
    assert told.lines("kn_autoscaler_scrape_duration_seconds_count") == []
