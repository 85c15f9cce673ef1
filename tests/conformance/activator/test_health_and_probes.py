"""Statements 1 to 9: who asks how the activator is, and what it says."""

import signal

import pytest

from kube.models.core import Endpoints
from tests.conformance.activator.world import World, activator, surroundings

KUBELET = ("User-Agent", "kube-probe/1.34")


async def test_statements_1_and_4_the_kubelet_gets_200_and_nothing_is_forwarded() -> None:
    async with activator() as world:
        for header in (KUBELET, ("K-Kubelet-Probe", "x")):
            response = await world.get(path="/x", headers=[header])
            assert (response.status, response.body) == (200, b"")
        assert world.autoscaler.frames == []


async def test_statement_2_if_strict_the_kubelet_gets_500_without_the_autoscaler_and_200_when_it_is_back() -> None:
    async with surroundings(network={}, KNUV_STRICT_COMPAT="1") as world:
        await world.client.patch(Endpoints, "autoscaler", "knative-serving", {"subsets": []})
        await world.spawn()
        await world.logged("activator_started")
        response = await world.get(headers=[KUBELET])
        assert (response.status, response.body) == (500, b"connection has not yet been established\n")
        assert response.get("content-type") == "text/plain; charset=utf-8"
        assert response.get("x-content-type-options") == "nosniff"
        subsets = [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "http", "port": world.autoscaler.port}]}]
        await world.client.patch(Endpoints, "autoscaler", "knative-serving", {"subsets": subsets})
        await world.logged("stat_connection_up")
        assert (await world.get(headers=[KUBELET])).status == 200


async def test_without_the_autoscaler_the_kubelet_gets_200() -> None:
    async with surroundings(network={}) as world:
        await world.autoscaler.stop()
        await world.spawn()
        await world.logged("activator_started")
        assert (await world.get(headers=[KUBELET])).status == 200


async def test_statements_3_and_9_after_sigterm_only_the_kubelet_is_sent_away() -> None:
    async with activator(KNUV_DRAIN_SECONDS="30") as world:
        assert world.process is not None
        world.process.send_signal(signal.SIGTERM)
        await world.logged("draining")
        response = await world.get(headers=[KUBELET])
        assert (response.status, response.body) == (500, b"received SIGTERM from kubelet\n")
        alive = await world.get(headers=[("K-Network-Probe", "activator")])
        assert (alive.status, alive.body) == (200, b"activator")
        routed = await world.get(headers=[("K-Network-Probe", "probe"), ("K-Network-Hash", "h")])
        assert routed.status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("revision", [None, ("ns", "rev"), ("ns", "unknown")])
async def test_statement_5_the_activator_names_itself(method: str, revision: tuple[str, str] | None) -> None:
    async with activator() as world:
        probe = [("K-Network-Probe", "activator"), ("User-Agent", "Knative-Autoscaling-Probe")]
        response = await world.get(method=method, path="//healthz", headers=probe, revision=revision)
        assert (response.status, response.body) == (200, b"activator")


async def test_statements_6_and_7_other_probe_values_are_refused_escaped_and_quoted() -> None:
    async with activator() as world:
        for value, shown in (("queue", "queue"), ("a<b", "a&lt;b"), ("a'\"b", "a&#39;&#34;b"), ("a\\b", "a\\\\b")):
            response = await world.get(headers=[("K-Network-Probe", value)])
            assert (response.status, response.body) == (400, f'unexpected probe header value: "{shown}"\n'.encode())


async def test_statement_8_a_network_probe_echoes_its_hash() -> None:
    async with activator() as world:
        await check_network_probe(world)


async def check_network_probe(world: World) -> None:
    response = await world.get(headers=[("K-Network-Probe", "probe"), ("K-Network-Hash", "abc")])
    assert (response.status, response.body, response.get("k-network-hash")) == (200, b"", "abc")
    response = await world.get(headers=[("K-Network-Probe", "probe")])
    assert (response.status, response.body) == (
        400,
        b'a probe request must contain a non-empty "K-Network-Hash" header\n',
    )


async def test_the_engine_of_both_ports_is_the_same() -> None:
    async with activator() as world:
        response = await world.get(headers=[("K-Network-Probe", "activator")], port=8013)
        assert response.body == b"activator"
