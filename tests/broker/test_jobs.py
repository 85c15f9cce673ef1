"""What is made of an event for a JobSink, as far as no process is needed for it."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.answers import Answers
from broker.job_sink import JobSinkRole
from broker.jobs import is_ours, job_name, job_of
from broker.paths import EventPath, event_of
from kube.models.batch import Job
from kube.models.meta import ObjectMeta, OwnerReference
from kube.models.sinks import ID_LABEL, NAME_LABEL, JobSink, JobSinkSpec
from proxies.exchange import Exchange
from proxies.heads import request_head
from proxies.messages import Answer

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def sink(job: Any) -> JobSink:
    return JobSink(metadata=ObjectMeta(name="s", namespace="ns", uid="u"), spec=JobSinkSpec(job=job))


@given(texts, texts)
def test_where_to_ask_names_the_event_again(source: str, event_id: str) -> None:
    path = EventPath("ns", "name", source, event_id)
    target = path.target.encode("ascii")
    assert event_of(target) == path
    assert not {b" ", b"?", b"#", b"\n"} & {target[at : at + 1] for at in range(len(target))}


@given(st.text("abc.-", min_size=1, max_size=253), texts, texts)
def test_names_fit_and_are_the_same_for_the_same_event(name: str, source: str, event_id: str) -> None:
    found = job_name(name, source, event_id)
    assert found == job_name(name, source, event_id)
    assert len(found) <= 63


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"spec": {}},
        {"spec": {"template": None}},
        {"spec": {"template": {"spec": {}}}},
        {"spec": {"template": {"spec": {"containers": None}}}},
        {"spec": {"template": {"spec": {"containers": ["c"]}}}},
        {"spec": {"template": {"spec": {"containers": [{"env": ["A=b"]}]}}}},
        {"spec": {"template": {"spec": {"containers": [{"volumeMounts": {"a": 1}}]}}}},
        {"spec": {"template": {"spec": {"containers": [], "volumes": "none"}}}},
        {"spec": {"template": {"spec": {"containers": []}}}, "metadata": {"labels": "a=b"}},
    ],
)
def test_what_is_no_job_is_told(job: Any) -> None:
    with pytest.raises(ValueError, match=r"JobSink ns/s: spec\.job is no Job"):
        job_of(sink(job), "n", "n-1")


def test_the_sinks_own_job_stays_as_it_is_and_its_volume_gives_way() -> None:
    pod = {"containers": [{"name": "c"}], "volumes": [{"name": "jobsink-event", "emptyDir": {}}]}
    mine = sink({"metadata": {"name": "other", "namespace": "away"}, "spec": {"template": {"spec": pod}}})
    before = repr(mine)
    made = job_of(mine, "n", "n-1")
    assert repr(mine) == before
    assert made["metadata"]["name"] == "n"
    assert made["metadata"]["namespace"] == "ns"
    volumes = made["spec"]["template"]["spec"]["volumes"]
    assert volumes == [{"name": "jobsink-event", "secret": {"secretName": "n-1"}}]


class Asking:
    """As much of an exchange as is looked at."""

    def __init__(self) -> None:
        self.request = request_head(b"GET /namespaces/ns/name/s/sources/a/ids/1 HTTP/1.1\r\nHost: h")
        self.context: Any = None
        self.is_held = True
        self.answers: list[Answer] = []

    def answer(self, answer: Answer) -> None:
        self.is_held = False
        self.answers.append(answer)


async def test_those_who_would_wait_too_long_are_told_to_come_again() -> None:
    asked = asyncio.Event()

    async def wait(*_arguments: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    role = JobSinkRole({})
    context = SimpleNamespace(
        scheme="http", loop=asyncio.get_running_loop(), client=SimpleNamespace(get=wait), log=None
    )
    role._context = cast(Any, context)
    role._answers = Answers(b"", 1000)
    role._sinks = cast(Any, SimpleNamespace(get=lambda *_key: sink({}), stop=asked.wait))
    waiting = [Asking() for _ in range(256)]
    for each in waiting:
        role.receive(cast(Exchange, each))
    await asked.wait()
    late = Asking()
    role.receive(cast(Exchange, late))
    assert [answer.status for answer in late.answers] == [503]
    assert not any(each.answers for each in waiting)
    await role.stop()


@pytest.mark.parametrize(
    ("owners", "labels", "expected"),
    [
        (["u"], {NAME_LABEL: "s", ID_LABEL: "j"}, True),
        ([], {NAME_LABEL: "s", ID_LABEL: "j"}, True),
        (["former"], {NAME_LABEL: "s", ID_LABEL: "j"}, False),
        (["u"], {NAME_LABEL: "s"}, False),
        (["u"], {NAME_LABEL: "other", ID_LABEL: "j"}, False),
    ],
)
def test_a_job_that_goes_with_a_former_sink_is_not_this_ones(
    owners: list[str], labels: dict[str, str], expected: bool
) -> None:
    references = [OwnerReference("sinks.knative.dev/v1alpha1", "JobSink", "s", uid) for uid in owners]
    job = Job(metadata=ObjectMeta(name="j", namespace="ns", labels=labels, owner_references=references))
    assert is_ours(job, sink({})) is expected
