"""Statements 89 to 99: the ConfigMap `config-autoscaler` and revisions' annotations, with the original's words."""

import pytest

from autoscaler.settings import resolve
from kube.autoscaling.annotations import describe, problems
from kube.autoscaling.config import AutoscalerConfig, InvalidConfig

GROUP = "autoscaling.knative.dev/"


def config(**data: str) -> AutoscalerConfig:
    return AutoscalerConfig.from_data({key.replace("_", "-"): text for key, text in data.items()})


def refusal(annotations: dict[str, str], config: AutoscalerConfig | None = None) -> str:
    """What admission says of a revision's annotations, empty when nothing."""
    texts = {GROUP + key: text for key, text in annotations.items()}
    return describe(problems(texts, config or AutoscalerConfig()))


@pytest.mark.parametrize(("text", "fraction"), [("55", 0.55), ("0.71", 0.71), ("1", 1.0), ("1.5", 0.015)])
def test_89_percentages_become_fractions(text: str, fraction: float) -> None:
    read = config(container_concurrency_target_percentage=text)
    assert read.container_concurrency_target_fraction == pytest.approx(fraction)


@pytest.mark.parametrize("text", ["142.4", "-42", "0"])
def test_89_percentages_beyond_a_whole_are_refused(text: str) -> None:
    with pytest.raises(InvalidConfig, match=r"container-concurrency-target-percentage = .* outside of valid range"):
        config(container_concurrency_target_percentage=text)


@pytest.mark.parametrize("text", ["1h1s", "1s", "61984ms"])
def test_90_stable_windows_are_whole_seconds_from_6_to_3600(text: str) -> None:
    with pytest.raises(InvalidConfig, match="stable-window"):
        config(stable_window=text)
    assert config(stable_window="6s").stable_window_s == 6
    assert config(stable_window="1h").stable_window_s == 3600


@pytest.mark.parametrize("scale", ["0", "12"])
def test_91_the_largest_scale_stays_within_its_limit(scale: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        config(max_scale=scale, max_scale_limit="11")
    assert str(refused.value) == f"max-scale = {scale}, must be in [1, max-scale-limit(11)] range"
    assert config(max_scale="10", max_scale_limit="11").max_scale == 10


def test_92_an_initial_scale_of_0_must_be_allowed() -> None:
    with pytest.raises(InvalidConfig, match="initial-scale = 0, must be"):
        config(initial_scale="0")
    assert config(initial_scale="0", allow_zero_initial_scale="true").initial_scale == 0
    assert refusal({"initial-scale": "0"}) == f"invalid value: 0: {GROUP}initial-scale=0 not allowed by cluster"
    assert refusal({"initial-scale": "0"}, config(allow_zero_initial_scale="true")) == ""


def test_93_a_smallest_scale_below_0() -> None:
    assert refusal({"min-scale": "-1"}) == f"expected 0 <= -1 <= 2147483647: {GROUP}min-scale"


def test_94_bounds_that_contradict_each_other() -> None:
    expected = f"max-scale=2 is less than min-scale=5: {GROUP}max-scale, {GROUP}min-scale"
    assert refusal({"max-scale": "2", "min-scale": "5"}) == expected
    assert refusal({"max-scale": "0", "min-scale": "5"}) == ""


def test_95_a_window_that_is_too_short() -> None:
    assert refusal({"window": "1s"}) == f"expected 6s <= 1s <= 1h0m0s: {GROUP}window"


def test_96_an_activation_scale_of_1() -> None:
    assert refusal({"activation-scale": "1"}) == f"activation-scale=1 must be greater than 1: {GROUP}activation-scale"
    assert refusal({"activation-scale": "2"}) == ""


def test_97_classes_of_knatives_domain_are_known() -> None:
    expected = f"invalid value: unsupported.knative.dev: {GROUP}class"
    assert refusal({"class": "unsupported.knative.dev"}) == expected
    assert refusal({"class": "some.other.domain"}) == ""


def test_98_the_metric_must_suit_the_class() -> None:
    assert refusal({"metric": "cpu"}) == f"invalid value: cpu: {GROUP}metric"
    assert refusal({"metric": "cpu", "class": "hpa.autoscaling.knative.dev"}) == ""
    assert refusal({"metric": "cpu"}, config(pod_autoscaler_class="hpa.autoscaling.knative.dev")) == ""


@pytest.mark.parametrize(
    ("annotations", "smallest"),
    [({"minScale": "3"}, 3), ({"minScale": "3", "min-scale": "2"}, 2), ({"minScale": "3", "min-scale": "bad"}, 1)],
)
def test_99_the_old_spelling_counts_where_the_present_one_is_absent(annotations: dict[str, str], smallest: int) -> None:
    """The last case: the present one is there, cannot be read, and so leaves it to the cluster."""
    settings = resolve(
        {GROUP + key: text for key, text in annotations.items()},
        container_concurrency=0,
        reachability="Reachable",
        metrics_service="",
        config=config(min_scale="1"),
    )
    assert settings.min_scale == smallest
