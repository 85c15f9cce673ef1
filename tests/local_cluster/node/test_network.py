"""`local_cluster/node/network.py`."""

import socket
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.node.network import AddressPool, PoolExhausted, PortPool, is_bindable

SUBNET = IPv4Network("127.80.0.0/16")


def test_addresses_begin_after_the_stacks_own_block() -> None:
    pool = AddressPool(SUBNET)
    assert [pool.take(), pool.take()] == ["127.80.1.1", "127.80.1.2"]


def test_all_addresses_are_distinct_pod_addresses_and_then_the_pool_says_so() -> None:
    pool = AddressPool(SUBNET)
    addresses = {pool.take() for _ in range(199 * 254)}
    assert len(addresses) == 199 * 254
    for address in addresses:
        third, fourth = (int(part) for part in address.split(".")[2:])
        assert 1 <= third <= 199
        assert 1 <= fourth <= 254
    with pytest.raises(PoolExhausted, match="50546"):
        pool.take()
    pool.release("127.80.7.9")
    assert pool.take() == "127.80.7.9"


def test_an_address_is_not_reused_before_the_others() -> None:
    pool = AddressPool(SUBNET)
    first = pool.take()
    pool.release(first)
    assert pool.take() != first


@pytest.mark.parametrize("text", ["127.80.0.0/24", "10.0.0.0/8"])
def test_other_subnets_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a /16"):
        AddressPool(IPv4Network(text))


@given(st.lists(st.booleans(), max_size=200))
def test_two_holders_never_share_an_address(takes: list[bool]) -> None:
    pool, held = AddressPool(SUBNET), []
    for take in takes:
        if take or not held:
            address = pool.take()
            assert address not in held
            held.append(address)
        else:
            pool.release(held.pop(0))


def test_ports_that_are_in_use_are_skipped() -> None:
    pool = PortPool(bindable=lambda port: port not in (20000, 20002), start=20000)
    assert [pool.take(), pool.take()] == [20001, 20003]


def test_a_port_is_given_out_again_only_after_its_release() -> None:
    pool = PortPool(bindable=lambda port: port < 20002, start=20000)
    assert {pool.take(), pool.take()} == {20000, 20001}
    with pytest.raises(PoolExhausted, match="no free port"):
        pool.take()


def test_the_range_wraps_below_the_ephemeral_ports() -> None:
    pool = PortPool(bindable=lambda _port: True, start=32000)
    assert [pool.take(), pool.take()] == [32000, 20000]


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_with_a_listener_is_not_bindable(address: str) -> None:
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_bindable(port)
    assert is_bindable(port)
