"""Heads and what they amount to; the conformance tests ask the same from outside."""

import pytest

from activator.classification import Classifier, KubeletProbe, not_found
from activator.loads import RevisionKey
from proxies.heads import request_head
from proxies.messages import Answer, RequestHead


def head(*lines: str, host: str = "example.com") -> RequestHead:
    return request_head("\r\n".join(["GET / HTTP/1.1", f"Host: {host}", *lines]).encode())


def classify(*lines: str, host: str = "example.com") -> object:
    return Classifier("cluster.local").classify(head(*lines, host=host))


@pytest.mark.parametrize("line", ["User-Agent: kube-probe/1.34", "K-Kubelet-Probe: x", "user-agent: kube-probe/"])
def test_the_kubelet_is_recognised_whatever_else_the_head_says(line: str) -> None:
    assert classify(line, "K-Network-Probe: activator") is KubeletProbe.ASKED


def test_other_user_agents_are_not_the_kubelet() -> None:
    assert classify("User-Agent: my-kube-probe/1", "K-Kubelet-Probe:") == RevisionKey(b"", b"")


@pytest.mark.parametrize(
    ("value", "quoted"),
    [("queue", '"queue"'), ("<&>", '"&lt;&amp;&gt;"'), ("\t'x", '"\'x"'), ("é", '"é"')],
)
def test_unknown_probes_are_escaped_and_quoted_as_go_does(value: str, quoted: str) -> None:
    answer = classify(f"K-Network-Probe: {value}")
    assert isinstance(answer, Answer)
    expected = quoted.replace("'", "&#39;")
    assert (answer.status, answer.body.decode()) == (400, f"unexpected probe header value: {expected}\n")


@pytest.mark.parametrize(
    ("lines", "host", "key"),
    [
        (["Knative-Serving-Namespace: ns", "Knative-Serving-Revision: rev"], "a.b.svc.cluster.local", ("ns", "rev")),
        (["Knative-Serving-Namespace: ns"], "a.b.svc.cluster.local", ("b", "a")),
        (["Knative-Serving-Namespace: ns"], "a.b", ("ns", "")),
        ([], "a.b.svc.cluster.local:8080", ("b", "a")),
        ([], "a.b.svc.cluster.local.", ("", "")),
        ([], "a.b.svc", ("", "")),
        ([], "a.b.pod.cluster.local", ("", "")),
    ],
)
def test_the_revision_is_named_by_both_headers_or_by_the_host(
    lines: list[str], host: str, key: tuple[str, str]
) -> None:
    assert classify(*lines, host=host) == RevisionKey(*(part.encode() for part in key))


def test_a_name_that_is_no_text_is_quoted() -> None:
    answer = not_found(RevisionKey(b"ns", b"a\xff\t\\"))
    assert answer.body.endswith(b'"a\\xff\\t\\\\" not found\n')
