"""Statements 70 and 71, and what else is told: of HTTP, and of cold starts."""

import asyncio
import re

import pytest

from tests.conformance.activator.world import DEADLINE_S, World, read_message, surroundings
from tests.support.processes import eventually

PROMETHEUS = {"metrics-protocol": "prometheus"}
LABELS = 'k8s_namespace_name="ns",kn_revision_name="rev"'


async def scrape(world: World) -> dict[str, float]:
    """Series without the scope's labels, their labels in the order of names."""
    reader, writer = await asyncio.open_connection(world.address, 9090)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        text = (await read_message(reader)).body.decode()
    writer.close()
    found = {}
    for line in text.splitlines():
        parsed = re.fullmatch(r"([a-z0-9_]+)(?:\{(.*)\})? (\S+)", line)
        if parsed is not None:
            labels = re.findall(r'([a-z0-9_]+)="([^"]*)"', parsed[2] or "")
            kept = ",".join(f'{name}="{value}"' for name, value in sorted(labels) if not name.startswith("otel_"))
            found[f"{parsed[1]}{{{kept}}}" if kept else parsed[1]] = float(parsed[3])
    return found


async def test_statement_70_waiting_and_running_requests_are_told_apart() -> None:
    async with surroundings(network={}, observability=PROMETHEUS) as world:
        await world.revision()
        await world.start()
        pod = await world.pod(10)
        pod.gate.clear()
        waiting = world.start_get()
        await world.autoscaler.heard_of(1)
        queued, active = f"kn_revision_request_queued{{{LABELS}}}", f"kn_revision_request_active{{{LABELS}}}"
        series = await scrape(world)
        assert (series[queued], series[active]) == (1, 0)
        await world.endpoints(ready=[pod])
        await pod.until(lambda pod: pod.active == 1, "the request")
        series = await scrape(world)
        assert (series[queued], series[active]) == (0, 1)
        pod.gate.set()
        assert (await waiting).status == 200
        series = await scrape(world)
        assert (series[queued], series[active]) == (0, 0)
        full = f'k8s_namespace_name="ns",kn_configuration_name="conf",{LABELS[24:]},kn_service_name="svc"'
        assert f"kn_revision_request_concurrency{{{full}}}" in series
        http = {name: value for name, value in series.items() if name.startswith("http_") and "_count{" in name}
        assert len(http) == 5
        assert set(http.values()) == {1}
        for name in http:
            assert 'http_request_method="GET"' in name
            assert 'http_response_status_code="200"' in name
            assert 'kn_revision_name="rev"' in name
        for phase in ("report", "capacity", "response", "total"):
            assert series[f'knuv_cold_start_seconds_count{{phase="{phase}"}}'] == 1


async def test_probes_are_not_measured_and_unknown_revisions_without_their_names() -> None:
    async with surroundings(network={}, observability=PROMETHEUS) as world:
        await world.start()
        assert (await world.get(headers=[("K-Network-Probe", "activator")])).status == 200
        assert (await world.get()).status == 404
        series = await scrape(world)
        assert not [name for name in series if name.startswith(("kn_revision", "knuv_cold", "http_client"))]
        counts = {name: value for name, value in series.items() if name.startswith("http_") and "_count{" in name}
        assert len(counts) == 3
        for name, value in counts.items():
            assert 'http_response_status_code="404"' in name
            assert "kn_" not in name.partition("{")[2]
            assert value == 1


async def test_statement_71_the_connection_to_the_autoscaler_is_told() -> None:
    async with surroundings(network={}, observability=PROMETHEUS) as world:
        await world.start()
        reachable = 'kn_activator_stats_conn_reachable{peer="autoscaler"}'
        errors = 'kn_activator_stats_conn_errors_total{peer="autoscaler"}'
        series = await scrape(world)
        assert series[reachable] == 1
        assert errors not in series
        await world.autoscaler.stop()
        await world.logged("stat_connection_down")
        series = await scrape(world)
        assert (series[reachable], series[errors]) == (0, 1)
        await world.autoscaler.start()
        await eventually(lambda: _is_back(world, reachable))


async def _is_back(world: World, reachable: str) -> bool:
    return (await scrape(world))[reachable] == 1


async def test_without_being_asked_for_nothing_is_told() -> None:
    async with surroundings(network={}) as world:
        await world.start()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(world.address, 9090)


@pytest.mark.parametrize("value", ["true", "false"])
async def test_a_response_says_how_long_it_waited_for_a_cold_start_if_asked_to(value: str) -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations={"serving.knuv.dev/cold-start-header": value})
        await world.start()
        pod = await world.pod(10)
        waiting = [world.start_get() for _ in range(3)]
        await world.autoscaler.heard_of(3)
        await world.endpoints(ready=[pod])
        for response in await asyncio.gather(*waiting):
            phases = dict(re.findall(r"([a-z]+);dur=([0-9.]+)", response.get("x-knuv-cold-start")))
            if value == "false":
                assert not phases
                continue
            assert set(phases) == {"total", "capacity", "response"}
            total, parts = float(phases["total"]), float(phases["capacity"]) + float(phases["response"])
            assert total == pytest.approx(parts, abs=0.2)
            assert total > 0
        assert not (await world.get()).get("x-knuv-cold-start"), "it is warm"
