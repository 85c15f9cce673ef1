"""`local_cluster/node/grpc_health.py` and gRPC probes against a real gRPC server."""

from collections.abc import Iterator
from concurrent import futures

import grpc
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.models.core import Probe
from local_cluster.node.grpc_health import HealthCheck
from local_cluster.node.probes import ProbeFailed, ProbeTarget, run_probe

STATUSES = {b"": b"\x08\x01", b"\x0a\x04down": b"\x08\x02", b"\x0a\x0bcheck.later": b""}
"""HealthCheckRequest -> HealthCheckResponse: serving, not serving, unknown."""


@pytest.fixture
def port() -> Iterator[int]:
    """A server whose health service knows some names."""

    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request not in STATUSES:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return STATUSES[request]

    server = grpc.server(futures.ThreadPoolExecutor(1))
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


async def attempt(port: int, service: str | None) -> str:
    target = ProbeTarget(address=lambda _host, port: ("127.0.0.1", int(port)), env={}, cwd="/", guardian=None)
    try:
        await run_probe(msgspec.convert({"grpc": {"port": port, "service": service}}, Probe), target, 5.0)
    except ProbeFailed as error:
        return str(error)
    return ""


async def test_serving_is_success(port: int) -> None:
    assert await attempt(port, None) == ""
    assert await attempt(port, "") == ""


@pytest.mark.parametrize("service", ["down", "check.later", "never-heard-of", "x" * 300])
async def test_every_other_answer_fails(port: int, service: str) -> None:
    assert "did not answer SERVING" in await attempt(port, service)


async def test_nobody_listening_is_a_refused_connection() -> None:
    assert await attempt(1, None) == "failed to connect service: dial tcp 127.0.0.1:1: connect: connection refused"


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_end_in_a_verdict_and_never_in_serving_by_chance(chunks: list[bytes]) -> None:
    check = HealthCheck("", "127.0.0.1:1", "agent")
    for chunk in chunks:
        check.receive(chunk)
    assert not check.is_serving or b"\x08\x01" in b"".join(chunks)


def test_settings_and_pings_are_acknowledged() -> None:
    check = HealthCheck("", "127.0.0.1:1", "agent")
    settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00" + b"\x00\x03\x00\x00\x00\x64"
    ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"12345678"
    acknowledged = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
    assert check.receive(settings[:5]) == b""
    answer = check.receive(settings[5:] + ping)
    assert answer == acknowledged + b"\x00\x00\x08\x06\x01\x00\x00\x00\x00" + b"12345678"
    assert check.receive(acknowledged) == b""
    assert not check.is_done


def test_an_oversize_frame_ends_the_check() -> None:
    check = HealthCheck("", "127.0.0.1:1", "agent")
    check.receive(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01")
    assert check.is_done
    assert not check.is_serving
