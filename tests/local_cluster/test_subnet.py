"""Subnets of stacks: no two hold the same one."""

from local_cluster.subnet import Subnet


def test_every_claim_is_a_loopback_16_of_its_own_until_it_is_released() -> None:
    held = [Subnet.claim() for _ in range(20)]
    try:
        networks = [subnet.network for subnet in held]
        assert len(set(networks)) == 20
        assert all(network.prefixlen == 16 and network.is_loopback for network in networks)
    finally:
        for subnet in held:
            subnet.release()
    again = [Subnet.claim() for _ in range(20)]
    for subnet in again:
        subnet.release()
