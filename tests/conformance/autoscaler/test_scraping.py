"""Statements 14 to 27: the Metric, and how pods and their Service are scraped."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import pytest

from autoscaler.sampling import sample_size
from kube.models.core import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Service, ServicePort, ServiceSpec
from kube.models.meta import ObjectMeta
from proxies.wire.stat import Stat, encode_stat
from tests.conformance.autoscaler.world import (
    METRICS_PORT,
    NAMESPACE,
    WITHIN_S,
    Revision,
    World,
    autoscaler,
    condition,
)
from tests.support.processes import eventually

PROTOBUF = "application/protobuf"
SECOND_NS = 1_000_000_000

Answer: TypeAlias = "Stat | tuple[int, str, bytes] | None"
"""A stat, or (status, content type, body), or silence."""


def stat(concurrency: float, *, name: str = "pod", uptime_s: float = 1000.0) -> Stat:
    return Stat(name, concurrency, process_uptime=uptime_s)


class Peers:
    """Whoever is asked: answers in turn, connection by connection, the last for all that follow."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = answers
        self.heads: list[str] = []
        self.asked_s: list[float] = []
        self._by_address: dict[str, int] = {}
        self._connections = 0

    async def per_address(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As pods: each address has its answer for good."""
        ip = writer.get_extra_info("sockname")[0]
        await self._serve(reader, writer, self._by_address.setdefault(ip, len(self._by_address)))

    async def per_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As a Service: each connection leads to another pod."""
        self._connections += 1
        await self._serve(reader, writer, self._connections - 1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                self.asked_s.append(time.monotonic())
                answer = self.answers[min(number, len(self.answers) - 1)]
                if answer is None:
                    continue
                status, type_, body = (200, PROTOBUF, encode_stat(answer)) if isinstance(answer, Stat) else answer
                lines = f"HTTP/1.1 {status} X\r\nContent-Type: {type_}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(lines.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def scraped(world: World, *answers: Answer, ready: int = 1, **settings: Any) -> tuple[Revision, Peers]:
    """A revision whose ready pods answer so, each with its own of the answers."""
    peers = Peers(*answers)
    revision = Revision(world, f"scraped-{len(world.revisions):05d}")
    world.revisions[revision.name] = revision
    revision._answer_scrape = peers.per_address  # type: ignore[method-assign]
    await revision.create(ready=ready, **settings)
    return revision, peers


async def service_of(world: World, revision: Revision, *answers: Answer) -> Peers:
    """Give the revision a private Service that answers so."""
    peers = Peers(*answers)
    ip = await world.serve(peers.per_connection, METRICS_PORT)
    meta = ObjectMeta(name=f"{revision.name}-private", namespace=NAMESPACE)
    port = ServicePort(name="http-autometric", port=METRICS_PORT, target_port=METRICS_PORT)
    await world.client.create(Service(metadata=meta, spec=ServiceSpec(ports=[port])))
    ports = [EndpointPort(name="http-autometric", port=METRICS_PORT)]
    subset = EndpointSubset(addresses=[EndpointAddress(ip=ip)], ports=ports)
    await world.client.create(Endpoints(metadata=meta, subsets=[subset]))
    return peers


async def until_metric(world: World, revision: Revision, status: str, reason: str) -> str:
    """Wait for that condition Ready of the Metric; its message."""

    def is_so() -> bool:
        found = world.metrics.get(NAMESPACE, revision.name)
        return found is not None and condition(found, "Ready") == (status, reason)

    await world.until(is_so, f"{revision.name}: Metric {status} {reason}")
    return next(told.message for told in revision.metric.status.conditions if told.type == "Ready")


async def until_asked(peers: Peers, times: int) -> None:
    """Wait until they were asked that often since now."""
    before = len(peers.heads)
    await eventually(lambda: len(peers.heads) >= before + times, timeout_s=WITHIN_S)


def rounds(asked_s: list[float]) -> list[int]:
    """How many questions came in each round; a round ends with a pause. A busy machine may tear some of them apart."""
    ends = [index for index, (at_s, next_s) in enumerate(pairwise(asked_s), 1) if next_s - at_s > 0.4]
    return [end - begin for begin, end in pairwise([0, *ends])]


async def decisions(world: World, revision: Revision) -> list[dict[str, Any]]:
    """The newest first; none while nothing was decided."""
    page = await world.debug(f"decisions/{NAMESPACE}/{revision.name}")
    found: list[dict[str, Any]] = page.get("decisions", [])
    return found


async def test_14_the_panic_window_is_rounded_to_whole_seconds() -> None:
    expected = {
        ("60s", "10"): 6,
        ("60s", "51"): 31,
        ("10s", "10"): 1,
        ("15s", "10"): 2,
        ("45s", "10"): 5,
        ("6s", "10"): 1,
    }
    async with autoscaler() as world:
        for (window, percentage), panic_s in expected.items():
            revision = await world.revision(ready=1, window=window, panic_window_percentage=percentage)
            await until_metric(world, revision, "True", "")
            assert revision.metric.spec.panic_window == panic_s * SECOND_NS, (window, percentage)
            assert revision.metric.spec.stable_window == int(window[:-1]) * SECOND_NS


async def test_15_what_activators_see_all_of_is_not_scraped() -> None:
    async with autoscaler() as world:
        targets = {}
        for burst in ("-1", "0", "211"):
            revision = await world.revision(ready=1, target_burst_capacity=burst)
            await until_metric(world, revision, "True", "")
            targets[burst] = revision.metric.spec.scrape_target.removeprefix(revision.name)
        assert targets == {"-1": "", "0": "-private", "211": "-private"}


@pytest.mark.parametrize(
    ("pods", "asked"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (10, 7), (100, 14), (1000, 16), (0, 0), (-1, 0)]
)
def test_16_of_many_pods_few_are_asked(pods: int, asked: int) -> None:
    assert sample_size(pods) == asked


async def test_16_and_24_seven_of_ten_pods_speak_for_all() -> None:
    async with autoscaler() as world:
        revision, peers = await scraped(world, stat(3), ready=10, target="10")
        newest = await revision.decided(10)  # it begins in panic, with the pods that it found
        assert newest["stable"] == 30
        await eventually(lambda: 7 in rounds(peers.asked_s))


async def test_17_a_pod_is_asked_for_protobuf_at_its_own_address() -> None:
    async with autoscaler() as world:
        _, peers = await scraped(world, stat(3))
        await until_asked(peers, 2)
        request, *fields = peers.heads[0].rstrip("\r\n").split("\r\n")
        assert request == "GET /metrics HTTP/1.1"
        assert "Accept: application/protobuf" in fields
        assert any(field.startswith("Host: 127.") and field.endswith(":9090") for field in fields)
        assert not any(field.startswith("Knative-Direct-Lb") for field in fields)


async def test_17_where_a_mesh_lets_direct_requests_pass_it_is_told_the_service() -> None:
    async with autoscaler(config_network={"enable-mesh-pod-addressability": "true"}) as world:
        revision, peers = await scraped(world, stat(3))
        await until_asked(peers, 1)
        assert f"Host: {revision.name}-private.{NAMESPACE}\r\n" in peers.heads[0]
        assert "Knative-Direct-Lb: true\r\n" in peers.heads[0]


async def side_by_side(plays: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Play them all in one world: most of what they do is to wait. Tells of each that failed, by its name."""
    ends = await asyncio.gather(*plays.values(), return_exceptions=True)
    failed = [(name, end) for name, end in zip(plays, ends, strict=True) if end is not None]
    for name, end in failed:
        end.add_note(f"in {name}")
    if failed:
        raise BaseExceptionGroup("not all went well", [end for _, end in failed])


async def test_18_and_27_what_is_not_a_stat_is_a_failed_collection() -> None:
    async def play(answer: Answer) -> None:
        revision, peers = await scraped(world, answer)
        message = await until_metric(world, revision, "False", "CollectionFailed")
        assert message.startswith("Failed to reconcile metric collection: ")
        await until_asked(peers, 3)
        assert await decisions(world, revision) == []
        peers.answers = (stat(350),)
        await until_metric(world, revision, "True", "")
        await revision.until_replicas(5)

    answers: dict[str, Answer] = {
        "parameter": (200, "application/protobuf; charset=utf-8", encode_stat(stat(3))),
        "type": (200, "text/plain", encode_stat(stat(3))),
        "garbage": (200, PROTOBUF, b"\xff\xff"),
        "more than 336 bytes": (200, PROTOBUF, encode_stat(Stat("n" * 400, 3))),
        "NaN": (200, PROTOBUF, encode_stat(stat(float("nan")))),
        "negative": (200, PROTOBUF, encode_stat(stat(-3))),
        "500": (500, PROTOBUF, encode_stat(stat(3))),
        "301": (301, PROTOBUF, encode_stat(stat(3))),
    }
    async with autoscaler() as world:
        await side_by_side({name: play(answer) for name, answer in answers.items()})


async def test_19_only_502_and_503_look_like_a_mesh() -> None:
    async def play(status: int, asks_the_service: bool) -> None:
        revision, pods = await scraped(world, (status, PROTOBUF, b""), active=("True", 100), target="10")
        service = await service_of(world, revision, stat(65))
        if asks_the_service:
            await revision.until_replicas(10)  # 65 at 70 % of 10
        else:
            await until_metric(world, revision, "False", "CollectionFailed")
            await until_asked(pods, 3)
        assert bool(service.heads) == asks_the_service

    statuses = {502: True, 503: True, 500: False, 504: False, 404: False}
    async with autoscaler() as world:
        await side_by_side({str(status): play(status, asks) for status, asks in statuses.items()})


async def test_20_a_mesh_is_found_once() -> None:
    async with autoscaler() as world:
        revision, pods = await scraped(world, (503, PROTOBUF, b""), ready=2, active=("True", 100), target="10")
        service = await service_of(world, revision, *[stat(10, name=f"pod-{number % 2}") for number in range(1000)])
        await revision.until_replicas(3)  # 20 at 70 % of 10
        asked = len(pods.heads)
        await until_asked(service, 6)
        assert len(pods.heads) == asked == 2
        assert f"Host: {revision.name}-private.{NAMESPACE}:9090\r\n" in service.heads[0]
        assert "Connection: close\r\n" in service.heads[0]


async def test_21_without_meshes_the_service_is_never_asked() -> None:
    async with autoscaler(config_network={"mesh-compatibility-mode": "disabled"}) as world:
        revision, pods = await scraped(world, (503, PROTOBUF, b""))
        service = await service_of(world, revision, stat(3))
        await until_metric(world, revision, "False", "CollectionFailed")
        await until_asked(pods, 3)
        assert service.heads == []


async def test_22_strictly_a_sample_that_is_not_whole_is_none() -> None:
    async with autoscaler(environ={"KNUV_STRICT_COMPAT": "1"}) as world:
        revision, pods = await scraped(world, (500, PROTOBUF, b""), stat(700), stat(700), ready=3)
        message = await until_metric(world, revision, "False", "CollectionFailed")
        assert "too few of 3 pods answered" in message
        await until_asked(pods, 9)
        assert await decisions(world, revision) == []


async def test_22_half_of_a_sample_speaks_for_all_and_less_for_nobody() -> None:
    async with autoscaler() as world:
        revision, pods = await scraped(world, (500, PROTOBUF, b""), stat(70), stat(70), ready=3)
        newest = await revision.decided(3)
        assert newest["stable"] == 210
        await until_metric(world, revision, "True", "")
        other, pods = await scraped(world, (500, PROTOBUF, b""), (500, PROTOBUF, b""), stat(700), ready=3)
        assert "too few of 3 pods answered" in await until_metric(world, other, "False", "CollectionFailed")
        await until_asked(pods, 9)
        assert await decisions(world, other) == []


async def test_23_no_pods_are_no_stat_and_no_error() -> None:
    async with autoscaler() as world:
        revision = await world.revision(ready=0, active=("False", 100))
        await until_metric(world, revision, "True", "")
        other = await world.revision(ready=1, load=70)
        await other.decided(1)
        assert await decisions(world, revision) == []
        assert not world.logged("scrape_failed")


def repeated(answers: Sequence[Stat]) -> list[Stat]:
    return [*answers] * 500


async def test_24_and_25_the_service_is_asked_until_enough_pods_answered() -> None:
    async def play(pods: int, young: int, stable: float) -> None:
        stats = [stat(2 * (i + 1), name=f"pod-{i}", uptime_s=10 if i < young else 1000) for i in range(pods)]
        revision, asked = await scraped(world, stat(1000), ready=pods, target="100")
        await service_of(world, revision, *repeated(stats))
        newest = await revision.decided(pods)  # it begins in panic, with the pods that it found
        assert newest["stable"] == pytest.approx(stable, rel=0.3)
        assert asked.heads == []

    async with autoscaler(config_network={"mesh-compatibility-mode": "enabled"}) as world:
        plays = {"4 young": play(4, 4, 20), "6 old": play(6, 0, 36), "1 young of 3": play(3, 1, 12)}
        await side_by_side(plays)


async def test_25_and_27_a_pod_that_answered_before_is_a_failure_and_ten_are_enough() -> None:
    async with autoscaler(config_network={"mesh-compatibility-mode": "enabled"}) as world:
        revision, _ = await scraped(world, stat(1000), ready=2)
        service = await service_of(world, revision, stat(3, name="always-me"))
        message = await until_metric(world, revision, "False", "DidNotReceiveStat")
        assert message == "did not receive stat from an unscraped pod"
        # One worker has its stat at the first try, the other asks ten times.
        await eventually(lambda: 11 in rounds(service.asked_s))


async def test_26_what_came_through_a_proxy_is_left_to_the_proxy() -> None:
    async def play(metric: str, stable: float) -> None:
        revision, _ = await scraped(world, Stat("pod", 100, 40, 1000, 300, 1000), metric=metric, target="1000")
        newest = await revision.decided(1)
        assert newest["stable"] == stable

    async with autoscaler() as world:
        await side_by_side({metric: play(metric, stable) for metric, stable in (("concurrency", 60.0), ("rps", 700.0))})


async def test_27_a_service_without_endpoints_is_not_known_to_fail() -> None:
    async with autoscaler(config_network={"mesh-compatibility-mode": "enabled"}) as world:
        revision, _ = await scraped(world, stat(3))
        message = await until_metric(world, revision, "Unknown", "NoEndpoints")
        assert message.startswith("failed to get endpoints of ")
        await service_of(world, revision, stat(3))
        await until_metric(world, revision, "True", "")
