"""Statements 1-3, 12-17, 19 and 25 of eventing-sources.md, by an adapter that follows a real API server.

The adapter's clock is the test's, so that minutes take no time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventing.cron import parse
from kube.timestamps import parse_time_s
from proxies.logs import Logger
from sources.ping import App, PingConfig, exit_delay_s
from tests.conformance.eventing_sources.conftest import Api
from tests.sources.support import Got, Sink, running_sink
from tests.support.certificates import Authority
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PINGS = "/apis/sources.knative.dev/v1/namespaces/default/pingsources"
MINUTE = 60
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now_s = NOON - 1

    def __call__(self) -> float:
        return self.now_s


async def ping(api: Api, name: str, sink: Sink, **spec: object) -> None:
    """A PingSource that a controller found ready."""
    whole = {"schedule": "* * * * *", "sink": {"uri": sink.url}, **spec}
    body = {"apiVersion": "sources.knative.dev/v1", "kind": "PingSource", "metadata": {"name": name}, "spec": whole}
    await api.create(PINGS, body)
    status = {"sinkUri": sink.url, "conditions": [{"type": "Ready", "status": "True"}]}
    await api.merge(f"{PINGS}/{name}/status", {"status": status})


@asynccontextmanager
async def adapter(
    api: Api, clock: Clock, pod: str = "ping-0", *, is_alone: bool = True, look_s: float = 0.005
) -> AsyncIterator[App]:
    environ = {
        "KUBECONFIG": str(api.running.kubeconfig),
        "SYSTEM_NAMESPACE": "default",
        "POD_NAME": pod,
        "KNUV_BIND_ADDRESS": "127.0.0.1",
        "KNUV_HEALTH_PORT": "0",
    }
    config = PingConfig.from_env(environ, is_alone=is_alone)
    app = App(config, Logger("test", write=lambda _line: None), clock=clock, jitter_s=0, look_s=look_s)
    try:
        await app.start()
        yield app
    finally:
        await app.stop()


@asynccontextmanager
async def fired(api: Api, **spec: object) -> AsyncIterator[Got]:
    """The request of a PingSource at noon, and no other."""
    clock = Clock()
    async with running_sink() as sink:
        await ping(api, "p", sink, **spec)
        try:
            async with adapter(api, clock):
                assert sink.got == []
                clock.now_s = NOON
                (got,) = await sink.until(1)
                yield got
                assert len(sink.got) == 1
        finally:
            await api.delete(f"{PINGS}/p")


async def test_1_2_12_13_and_17_a_bare_ping(api: Api) -> None:
    async with fired(api, contentType="text/plain") as got:
        assert got.method == "POST"
        assert got.headers["ce-specversion"] == "1.0"
        assert got.headers["ce-id"]
        parse_time_s(got.headers["ce-time"])
        assert got.headers["ce-type"] == "dev.knative.sources.ping"
        assert got.headers["ce-source"] == "/apis/v1/namespaces/default/pingsources/p"
        assert got.headers["kn-namespace"] == "default"
        assert not {"ce-subject", "prefer", "content-type"} & got.headers.keys()
        assert got.body == b""


async def test_3_overrides(api: Api) -> None:
    async with fired(api, ceOverrides={"extensions": {"a": "b"}}) as got:
        assert got.headers["ce-a"] == "b"


async def test_15_data_with_its_type(api: Api) -> None:
    async with fired(api, contentType="text/plain", data="hi") as got:
        assert (got.body, got.headers["content-type"]) == (b"hi", "text/plain")


async def test_16_base64_is_decoded(api: Api) -> None:
    async with fired(api, contentType="application/octet-stream", dataBase64="AAEC/w==") as got:
        assert got.body == b"\x00\x01\x02\xff"


async def test_14_and_19_ticks_by_seconds_have_ids_of_their_own(api: Api) -> None:
    clock = Clock()
    async with running_sink() as sink:
        await ping(api, "p", sink, schedule="*/10 * * * * *")
        async with adapter(api, clock):
            for number in range(3):
                clock.now_s = NOON + number * 10
                await sink.until(number + 1)
        await api.delete(f"{PINGS}/p")
    assert len({got.headers["ce-id"] for got in sink.got}) == 3


async def test_25_either_day_fires() -> None:
    schedule, at, days = parse("0 0 1 * 1"), NOON - 86400, []
    for _ in range(6):
        following = schedule.next_after(at)
        assert following is not None
        at = following
        days.append(datetime.fromtimestamp(at, UTC).day)
    assert days == [1, 8, 15, 22, 29, 1]


async def test_what_is_not_ready_does_not_fire_and_what_is_deleted_stops(api: Api) -> None:
    clock = Clock()
    async with running_sink() as sink:
        for name in ("stays", "unready", "gone"):
            await ping(api, name, sink, data=name)
        async with adapter(api, clock):
            clock.now_s = NOON
            assert {got.body for got in await sink.until(3)} == {b"stays", b"unready", b"gone"}
            unready = {"conditions": [{"type": "Ready", "status": "False"}]}
            await api.merge(f"{PINGS}/unready/status", {"status": unready})
            await api.delete(f"{PINGS}/gone")
            await ping(api, "later", sink, data="later")

            async def has_fired_often() -> bool:
                clock.now_s += MINUTE
                return [got.body for got in sink.got].count(b"later") >= 5

            await eventually(has_fired_often)
            # The last one to appear fires, so the others have been seen to go before.
            assert {got.body for got in sink.got[-6:]} == {b"stays", b"later"}
        for name in ("stays", "unready", "later"):
            await api.delete(f"{PINGS}/{name}")


async def test_another_sink_counts_from_the_next_tick_on(api: Api) -> None:
    clock = Clock()
    async with running_sink() as first, running_sink() as second:
        await ping(api, "p", first)
        async with adapter(api, clock):
            clock.now_s = NOON
            await first.until(1)
            await api.merge(f"{PINGS}/p/status", {"status": {"sinkUri": second.url}})

            async def arrives() -> bool:
                clock.now_s += MINUTE
                return bool(second.got)

            await eventually(arrives)
        await api.delete(f"{PINGS}/p")


async def test_of_two_replicas_one_fires_and_the_other_takes_over(api: Api) -> None:
    clock = Clock()
    async with running_sink() as sink:
        await ping(api, "p", sink)
        async with (
            adapter(api, clock, "ping-1", is_alone=False) as first,
            adapter(api, clock, "ping-2", is_alone=False),
        ):
            for number in range(4):
                clock.now_s = NOON + number * MINUTE
                await sink.until(number + 1)
            assert len(sink.got) == 4
            await first.stop()

            async def arrives() -> bool:
                clock.now_s += MINUTE
                return len(sink.got) > 4

            await eventually(arrives)
        await api.delete(f"{PINGS}/p")


async def test_a_sink_that_hangs_delays_nobody_and_has_a_bound(api: Api) -> None:
    clock = Clock()
    async with running_sink() as sink, running_sink() as other:
        sink.gate.clear()
        await ping(api, "p", sink, schedule="* * * * * *")
        await ping(api, "q", other, schedule="* * * * * *")
        async with adapter(api, clock):

            async def tick() -> None:
                """A second passes; the source that is well has fired."""
                fired = len(other.got)
                clock.now_s += 1
                await other.until(fired + 1)

            while len(sink.got) < 100:
                await tick()
            for _ in range(5):
                await tick()
            assert len(sink.got) == 100
            sink.gate.set()

            async def goes_on() -> bool:
                await tick()
                return len(sink.got) > 110

            await eventually(goes_on)
        for name in ("p", "q"):
            await api.delete(f"{PINGS}/{name}")


async def test_authorities_of_the_cluster_are_believed_for_sinks(api: Api, tmp_path: Path) -> None:
    """Spec eventing-sources.md 1.3: TLS as described for the broker, whose trust bundles may come at any time."""
    path, pem = "/api/v1/namespaces/default/configmaps", Authority(tmp_path, "corp").ca_file.read_text()
    labels = {"networking.knative.dev/trust-bundle": "true"}

    def is_believed(app: App) -> bool:
        found = app._shell._authorities.context("").get_ca_certs()
        return any(("commonName", "corp") in pair for each in found for pair in each["subject"])

    async with adapter(api, Clock()) as app:
        assert not is_believed(app)
        await api.create(path, {"metadata": {"name": "corp", "labels": labels}, "data": {"ca.crt": pem}})
        await eventually(lambda: is_believed(app))
        await api.delete(f"{path}/corp")
        await eventually(lambda: not is_believed(app))


async def test_a_change_at_the_very_moment_of_a_tick_does_not_lose_it(api: Api) -> None:
    clock = Clock()
    async with running_sink() as sink:
        await ping(api, "p", sink)
        async with adapter(api, clock, look_s=30):
            clock.now_s = NOON  # nobody has looked at the clock since
            await api.merge(f"{PINGS}/p", {"spec": {"data": "new"}})
            (got,) = await sink.until(1)
            assert got.body == b"new"
        await api.delete(f"{PINGS}/p")


async def test_the_end_waits_for_a_tick_that_is_near() -> None:
    assert exit_delay_s(60 * 1000 + 54.9, 55) == 0
    assert exit_delay_s(60 * 1000 + 55.5, 55) == pytest.approx(5.5)
    assert exit_delay_s(60 * 1000, 0) == 61
