"""The whole autoscaler against a real API server: 0 -> N -> 0, what it writes, and what it leaves alone."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from autoscaler import scrape_client
from kube.models.apps import Deployment
from kube.models.autoscaling import Metric, PodAutoscaler
from kube.models.core import ConfigMap
from kube.models.networking import ServerlessService
from tests.autoscaler.cluster import KEY, NAMESPACE, REVISION, Cluster, cluster, condition
from tests.support.api import running_api_server

FAST = {"stable-window": "6s", "panic-window-percentage": "50", "scale-to-zero-grace-period": "1s"}
TARGET_10 = {"target": "10", "target-utilization-percentage": "100", "target-burst-capacity": "0", "max-scale": "10"}


@pytest.fixture
def log_lines() -> list[bytes]:
    return []


@pytest.fixture
async def kn(log_lines: list[bytes], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    async with running_api_server() as api, cluster(api, log_lines) as kn:
        await kn.create(FAST, TARGET_10)
        async with kn.running():
            # Set before the first scrape: pods appear only after the peers run.
            monkeypatch.setattr(scrape_client, "METRICS_PORT", kn.metrics_port)
            yield kn


def ready_of(metric: Metric) -> tuple[str, str]:
    return next(((c.status, c.reason) for c in metric.status.conditions if c.type == "Ready"), ("", ""))


def events(log_lines: list[bytes], name: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, log_lines) if line["message"] == name]


async def test_a_revision_goes_from_one_to_zero_to_its_load_and_back_to_zero(
    kn: Cluster, log_lines: list[bytes]
) -> None:
    await kn.until("active with its first pod", lambda pa: condition(pa, "Ready")[0] == "True")
    idle = await kn.until("at zero without traffic", lambda pa: pa.status.actual_scale == 0)
    assert condition(idle, "Active") == ("False", "NoTraffic")
    assert condition(idle, "ScaleTargetInitialized")[0] == "True"
    assert (kn.replicas, kn.modes[-1]) == ([1, 0], "Proxy")

    await kn.first_request(60)
    await kn.until("at six", lambda pa: (pa.status.actual_scale or 0) >= 6)
    assert kn.replicas[:3] == [1, 0, 1]
    busy = await kn.until("serving", lambda pa: kn.modes[-1] == "Serve")
    assert condition(busy, "Active")[0] == "True"
    # While traffic moves from the activator to the pods, a second may see some of it twice: one pod more, never ten.
    assert 6 <= max(kn.replicas) < 10

    kn.concurrency = 0
    gone = await kn.until("back at zero", lambda pa: kn.replicas[-1] == 0 and not kn.ready_pods())
    assert condition(gone, "Active") == ("False", "NoTraffic")
    assert kn.modes[-1] == "Proxy"

    applied = events(log_lines, "scale_applied")
    assert [(line["from"], line["to"]) for line in applied] == list(zip(kn.replicas, kn.replicas[1:], strict=False))
    poke = next(line for line in applied if line["from"] == 0)
    assert poke["stat_received"] <= poke["decided"] <= poke["patched"]
    assert (poke["namespace"], poke["revision"]) == KEY
    assert [line["mode"] for line in events(log_lines, "mode_changed")][-1] == "proxy"
    assert events(log_lines, "panic_began")

    changes = events(log_lines, "desired_changed")
    assert [line["from"] for line in changes[1:]] == [line["to"] for line in changes[:-1]]
    assert all(line["from"] != line["to"] for line in changes)
    assert (changes[-1]["to"], changes[-1]["why"]) == (0, "no load in 6 s")
    assert any(line["why"].startswith("panic: 3 s average ") for line in changes)


async def test_what_is_written_for_a_revision(kn: Cluster) -> None:
    await kn.until("ready", lambda pa: condition(pa, "Ready")[0] == "True")
    autoscaler = await kn.until("metric", lambda pa: pa.status.metrics_service_name != "")
    metric = await kn.client.get(Metric, REVISION, NAMESPACE)
    assert metric.spec.stable_window == 6_000_000_000
    assert metric.spec.panic_window == 3_000_000_000
    assert metric.spec.scrape_target == f"{REVISION}-private"
    assert metric.is_controlled_by(autoscaler)
    assert autoscaler.status.service_name == REVISION
    assert [c.type for c in autoscaler.status.conditions] == ["Active", "Ready", "SKSReady", "ScaleTargetInitialized"]


async def test_a_changed_config_map_is_applied_live(kn: Cluster) -> None:
    await kn.until("ready", lambda pa: condition(pa, "Ready")[0] == "True")
    await kn.client.patch(ConfigMap, "config-autoscaler", "knative-serving", {"data": {"min-scale": "3"}})
    await kn.until("three pods", lambda pa: pa.status.actual_scale == 3)


async def test_changed_windows_reach_the_metric(kn: Cluster) -> None:
    await kn.until("ready", lambda pa: condition(pa, "Ready")[0] == "True")
    await kn.client.patch(ConfigMap, "config-autoscaler", "knative-serving", {"data": {"stable-window": "20s"}})
    await kn.until_metric("a longer window", lambda metric: metric.spec.stable_window == 20_000_000_000)


async def test_27_the_metric_says_whether_collecting_works(kn: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    await kn.until("ready", lambda pa: condition(pa, "Ready")[0] == "True")
    await kn.until_metric("collecting", lambda metric: ready_of(metric) == ("True", ""))
    monkeypatch.setattr(scrape_client, "METRICS_PORT", 1)
    await kn.until_metric("failing", lambda metric: ready_of(metric) == ("False", "CollectionFailed"))
    monkeypatch.setattr(scrape_client, "METRICS_PORT", kn.metrics_port)
    await kn.until_metric("collecting again", lambda metric: ready_of(metric) == ("True", ""))


async def test_71_a_restarted_autoscaler_keeps_the_scale_that_was_known(kn: Cluster) -> None:
    await kn.until("decided", lambda pa: (pa.status.desired_scale or -1) >= 0)
    known = len(kn.desired_scales)
    await kn.restart()
    await kn.client.patch(ConfigMap, "config-autoscaler", "knative-serving", {"data": {"min-scale": "2"}})
    await kn.until("decided again", lambda pa: pa.status.actual_scale == 2)
    assert -1 not in kn.desired_scales[known:]
    assert 0 not in kn.replicas


async def test_a_deleted_revision_is_forgotten(kn: Cluster) -> None:
    await kn.until("ready", lambda pa: condition(pa, "Ready")[0] == "True")
    assert len(kn.app.debug_state()["revisions"]) == 1
    await kn.client.delete(PodAutoscaler, REVISION, NAMESPACE)
    async with asyncio.timeout(10):
        while kn.app.debug_state()["revisions"]:
            await kn.changed()


async def test_a_revision_that_waits_for_its_pods_is_not_written_again_and_again(
    log_lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its conditions pass through other states within each reconcile; only real transitions may be seen."""
    async with running_api_server() as api, cluster(api, log_lines) as kn:
        kn.pods_become_ready = False
        await kn.create(FAST, TARGET_10)
        async with kn.running():
            await kn.until("queued", lambda pa: condition(pa, "Active") == ("Unknown", "Queued"))
            await kn.settled()
            before = kn.autoscalers.get(*KEY)
            a_minute_later = time.time() + 60
            monkeypatch.setattr("autoscaler.reconciler.time.time", lambda: a_minute_later)
            patch = {"metadata": {"annotations": {"look": "again"}}}
            await kn.client.patch(ServerlessService, REVISION, NAMESPACE, patch)
            await kn.settled()
            assert kn.autoscalers.get(*KEY) == before


@pytest.mark.parametrize(("max_scale", "strict_compat", "kept"), [("0", False, 7), ("5", False, 5), ("0", True, 2)])
async def test_a_restart_in_the_middle_of_an_activation_shrinks_nothing_while_the_load_is_unknown(
    max_scale: str, strict_compat: bool, kept: int, log_lines: list[bytes]
) -> None:
    """Too few pods are ready to be Active, as when a node was lost; the lower bound alone would take the rest away."""
    async with running_api_server() as api, cluster(api, log_lines, strict_compat=strict_compat) as kn:
        kn.pods_become_ready = False
        await kn.create(FAST, TARGET_10 | {"min-scale": "2", "max-scale": max_scale})
        await kn.client.patch_scale(Deployment, f"{REVISION}-deployment", NAMESPACE, 7)
        async with kn.running():
            await kn.until("queued", lambda pa: condition(pa, "Active") == ("Unknown", "Queued"))
            await kn.until("reported", lambda pa: pa.status.desired_scale == kept)
            await kn.settled()
            assert kn.replicas[-1] == kept
            await kn.restart()
            await kn.settled()
            assert kn.replicas[-1] == kept


async def test_the_debug_listener_tells_every_revisions_figures(kn: Cluster) -> None:
    await kn.until("ready", lambda pa: condition(pa, "Ready")[0] == "True")
    reader, writer = await asyncio.open_connection("127.0.0.1", kn.app.debug_port)
    writer.write(b"GET /debug/state HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    (revision,) = json.loads(body)["revisions"]
    assert revision.keys() == {
        "namespace",
        "name",
        "stable",
        "panic",
        "panicking",
        "desired",
        "ready",
        "excess_burst_capacity",
        "mode",
    }
    assert (revision["namespace"], revision["name"], revision["ready"]) == (*KEY, 1)


async def test_the_debug_listener_tells_why(kn: Cluster) -> None:
    await kn.until("decided", lambda pa: pa.status.desired_scale == 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", kn.app.debug_port)
    writer.write(f"GET /debug/decisions/{NAMESPACE}/{REVISION} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    content = json.loads(body)
    newest = content["decisions"][0]
    assert (newest["desired"], newest["ready"], newest["why"]) == (0, 1, "no load in 6 s")
    assert content["settings"][newest["settings"]]["target_value"] == 10.0
    assert (content["name"], content["desired"]) == (REVISION, 0)
