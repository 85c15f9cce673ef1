"""`broker/shell.py`, as far as no process is needed for it: what each port does with a request."""

from typing import Any, cast

import pytest

from broker.config import INGRESS, Config
from broker.role import Context
from broker.shell import Shell
from eventing.features import Features, TransportEncryption
from kube.config import ApiConfig
from proxies.exchange import Exchange
from proxies.heads import request_head
from proxies.messages import Answer

HEALTHY = Answer(200)


class Role:
    """Notes what it gets."""

    def __init__(self) -> None:
        self.received: list[tuple[Any, str]] = []
        self.shell: Shell

    def receive(self, exchange: Any) -> None:
        assert self.shell._context is not None
        self.received.append((exchange, self.shell._context.scheme))

    def readiness(self) -> Answer:
        return HEALTHY


class Arrival:
    """As much of an exchange as a port looks at."""

    def __init__(self, *lines: bytes, arrived_s: float = 0.0) -> None:
        self.request = request_head(b"\r\n".join([b"POST /ns/name HTTP/1.1", b"Host: h", *lines]))
        self.arrived_s = arrived_s
        self.answers: list[Answer] = []

    def answer(self, answer: Answer) -> None:
        self.answers.append(answer)


class Ports:
    def __init__(self, mode: TransportEncryption = TransportEncryption.PERMISSIVE) -> None:
        api = ApiConfig(server="http://unused")
        config = Config(process=INGRESS, api=api, system_namespace="s", pod_name="p", container_name="c", drain_s=5.0)
        self.role = Role()
        self.shell = self.role.shell = Shell(config, cast(Any, self.role))
        self.shell._context = cast(Context, type("Made", (), {"scheme": "", "features": None})())
        self.shell._take_features(Features(transport_encryption=mode))

    def arrive(self, arrival: Arrival, *, is_tls: bool = False) -> list[Answer]:
        port = self.shell._secure if is_tls else self.shell._plain
        port.admit(cast(Exchange, arrival))
        return arrival.answers


@pytest.mark.parametrize(
    ("mode", "plain", "secure"),
    [
        (TransportEncryption.DISABLED, True, False),
        (TransportEncryption.PERMISSIVE, True, True),
        (TransportEncryption.STRICT, False, True),
    ],
)
def test_94_a_port_that_is_shut_is_404(mode: TransportEncryption, plain: bool, secure: bool) -> None:
    ports = Ports(mode)
    for is_tls, is_open in ((False, plain), (True, secure)):
        answers = ports.arrive(Arrival(), is_tls=is_tls)
        assert [answer.status for answer in answers] == ([] if is_open else [404])
    assert [scheme for _, scheme in ports.role.received] == ["http"] * plain + ["https"] * secure


def test_requests_make_the_drain_longer_and_probes_do_not() -> None:
    ports = Ports()
    drain = ports.shell._drain
    drain.begin(10.0)
    kubelet = Arrival(b"User-Agent: kube-probe/1.30", arrived_s=12.0)
    assert [answer.status for answer in ports.arrive(kubelet)] == [503]
    assert drain.left_s(12.0) == 3.0
    assert ports.arrive(Arrival(arrived_s=13.0)) == []
    assert drain.left_s(13.0) == 5.0
    assert len(ports.role.received) == 1


def test_the_kubelet_hears_from_the_role_at_the_plain_port() -> None:
    ports = Ports()
    kubelet = b"User-Agent: kube-probe/1.30"
    assert ports.arrive(Arrival(kubelet)) == [HEALTHY]
    ports.role.readiness = lambda: Answer(503)  # type: ignore[method-assign] # scripted
    assert [answer.status for answer in ports.arrive(Arrival(kubelet))] == [503]
    assert [answer.status for answer in ports.arrive(Arrival(kubelet), is_tls=True)] == [200]
