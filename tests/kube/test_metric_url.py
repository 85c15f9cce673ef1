"""`kube.autoscaling.metric_url`, and what admission says about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.autoscaling.annotations import describe, problems
from kube.autoscaling.config import HPA_CLASS, AutoscalerConfig
from kube.autoscaling.metric_url import MetricUrl

CLASS = "autoscaling.knative.dev/class"
METRIC = "autoscaling.knative.dev/metric"
URL = "autoscaling.knuv.dev/metric-url"


def complaint(**annotations: str) -> str:
    named = {{"class_": CLASS, "metric": METRIC, "url": URL}[name]: text for name, text in annotations.items()}
    return describe(problems(named, AutoscalerConfig()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":8000/metrics#queue_length", MetricUrl(8000, "/metrics", "queue_length")),
        (":65535/#a", MetricUrl(65535, "/", "a")),
        (
            ":8000/a/b?c=d&e=%20#vllm:num_requests_waiting",
            MetricUrl(8000, "/a/b?c=d&e=%20", "vllm:num_requests_waiting"),
        ),
    ],
)
def test_a_metric_url_is_port_path_and_name(text: str, expected: MetricUrl) -> None:
    assert MetricUrl.parse(text) == expected
    assert str(expected) == text
    assert complaint(metric="url", url=text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8000/metrics#a",
        ":8000#a",
        ":8000/metrics",
        ":8000/metrics#",
        ":8000/metrics#9a",
        ":8000/metrics#a{b='c'}",
        ":0/metrics#a",
        ":65536/metrics#a",
        ":99999999999/metrics#a",
        ":-1/metrics#a",
        "http://app:8000/metrics#a",
        "@elsewhere:8000/metrics#a",
        ":8000/me trics#a",
        ":8000/metrics HTTP/1.1\r\nHost: x#a",
        ":8000/metrics\n#a",
        ":8000/metrics#a\n",
        ":8000/mätrics#a",
        ":8000/#b#a",
        ":8000/" + "a" * 1024 + "#a",
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected :<port>/<path>#<metric name>"):
        MetricUrl.parse(text)
    assert complaint(metric="url", url=text).startswith("expected :<port>/<path>#<metric name>, got ")


@given(st.text(alphabet=":0189/#ab \r\n\t\x00é", max_size=20))
def test_what_is_accepted_can_stand_in_a_request_line(text: str) -> None:
    try:
        url = MetricUrl.parse(text)
    except ValueError:
        return
    assert url.path.isascii()
    assert url.path.isprintable()
    assert " " not in url.path
    assert str(url) == text


def test_the_metric_needs_its_url() -> None:
    assert complaint(metric="url") == f"metric url needs a place to read it, such as :8000/metrics#queue_length: {URL}"


@pytest.mark.parametrize("others", [{}, {"metric": "concurrency"}, {"metric": "url", "class_": HPA_CLASS}])
def test_the_url_needs_its_metric(others: dict[str, str]) -> None:
    expected = f"only read with metric url of class kpa.autoscaling.knative.dev: {URL}"
    assert complaint(url=":8000/metrics#a", **others) == expected


def test_the_hpas_metric_of_that_name_is_its_own() -> None:
    assert complaint(metric="url", class_=HPA_CLASS) == ""
