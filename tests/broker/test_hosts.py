"""Who is served under a host that two channels say is theirs: `broker/channel/hosts.py`."""

import pytest

from broker.channel.hosts import Hosts, address_of
from kube.models.duck import Addressable

HOST = b"orders-kn-channel.shop.svc.cluster.local"
OURS, THEIRS, OTHERS = ("shop", "orders"), ("evil", "orders"), ("aaa", "orders")


@pytest.mark.parametrize("order", [(OURS, THEIRS, OTHERS), (THEIRS, OURS, OTHERS), (OTHERS, THEIRS, OURS)])
def test_the_channel_of_the_namespace_that_the_host_names_has_it(order: tuple[tuple[str, str], ...]) -> None:
    hosts = Hosts[tuple[str, str]]()
    for key in order:
        hosts.set(key, HOST, key)
    assert hosts.served == {HOST: OURS}
    for key in (THEIRS, OTHERS):
        hosts.forget(key)
        assert hosts.served == {HOST: OURS}
    hosts.forget(OURS)
    assert hosts.served == {}


def test_of_others_the_first_has_it_and_then_the_next() -> None:
    hosts = Hosts[tuple[str, str]]()
    for key in (THEIRS, OTHERS):
        hosts.set(key, b"any", key)
    assert hosts.served == {b"any": THEIRS}
    hosts.set(THEIRS, b"another", THEIRS)
    assert hosts.served == {b"any": OTHERS, b"another": THEIRS}
    hosts.set(OTHERS, b"", OTHERS)
    assert hosts.served == {b"another": THEIRS}
    hosts.forget(OTHERS)
    hosts.forget(THEIRS)
    hosts.forget(THEIRS)
    assert hosts.served == {}


def test_a_port_is_no_part_of_the_namespace() -> None:
    hosts = Hosts[tuple[str, str]]()
    hosts.set(THEIRS, b"orders.shop:8080", THEIRS)
    hosts.set(OURS, b"orders.shop:8080", OURS)
    assert hosts.served == {b"orders.shop:8080": OURS}


@pytest.mark.parametrize("url", ["http://[", "http://a]b/", ""])
def test_an_address_that_is_none_has_no_host(url: str) -> None:
    assert address_of(Addressable(url=url)).netloc == ""
    assert address_of(None).netloc == ""
