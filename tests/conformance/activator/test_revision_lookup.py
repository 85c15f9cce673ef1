"""Statements 10 to 14: which revision a request is for."""

import pytest

from tests.conformance.activator.world import World, activator


async def with_pod(world: World) -> None:
    await world.endpoints(ready=[await world.pod(10)])


@pytest.mark.parametrize("name", ["x", 'x"y'])
async def test_statement_10_an_unknown_revision_is_404(name: str) -> None:
    async with activator() as world:
        response = await world.get(revision=("ns", name))
        quoted = name.replace('"', '\\"')
        assert (response.status, response.body.decode()) == (
            404,
            f'Error getting active endpoint: revision.serving.knative.dev "{quoted}" not found\n',
        )


@pytest.mark.parametrize("port", ["", ":80"])
async def test_statement_11_the_host_names_the_revision(port: str) -> None:
    async with activator() as world:
        await with_pod(world)
        response = await world.get(revision=None, host=f"rev.ns.svc.cluster.local{port}")
        assert (response.status, response.body) == (200, b"pod-10")


@pytest.mark.parametrize("host", ["rev.ns", "example.com", "rev.ns.svc", "rev.ns.svc.cluster.local."])
async def test_statement_12_other_hosts_name_none(host: str) -> None:
    async with activator() as world:
        await with_pod(world)
        assert (await world.get(revision=None, host=host)).status == 404


async def test_statement_13_the_host_overrides_a_single_header() -> None:
    async with activator() as world:
        await with_pod(world)
        headers = [("Knative-Serving-Revision", "other")]
        response = await world.get(revision=None, host="rev.ns.svc.cluster.local", headers=headers)
        assert (response.status, response.body) == (200, b"pod-10")


async def test_statement_14_the_cluster_domain_is_configurable() -> None:
    async with activator(CLUSTER_DOMAIN="c.test") as world:
        await with_pod(world)
        assert (await world.get(revision=None, host="rev.ns.svc.c.test")).status == 200
        assert (await world.get(revision=None, host="rev.ns.svc.cluster.local")).status == 404
