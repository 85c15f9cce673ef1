"""Replays `readiness`: which probes the JSON stands for, and what is no probe."""

from typing import Any

import pytest

from queue_proxy.readiness import ProbeKind, ProbeSpec, decode_probes
from tests.golden.replay import Golden, same


def test_readiness(golden: Golden) -> None:
    with golden("readiness") as vectors:
        vectors.each("decode", check_decode)


def check_decode(entry: dict[str, Any]) -> None:
    if entry["expect"]["error"]:
        with pytest.raises(ValueError, match=r"."):
            decode_probes(entry["json"], is_list=entry["multi"])
        return
    probes = decode_probes(entry["json"], is_list=entry["multi"])
    same([described(probe) for probe in probes], entry["expect"]["probes"], "probes")


def described(probe: ProbeSpec) -> dict[str, Any]:
    described: dict[str, Any] = {
        "kind": probe.kind.value,
        "aggressive": probe.is_aggressive,
        "failure_threshold": probe.failure_threshold,
        "initial_delay_seconds": probe.initial_delay_s,
        "period_seconds": probe.period_s,
        "success_threshold": probe.success_threshold,
        "timeout_seconds": probe.timeout_s,
    }
    if probe.kind is ProbeKind.TCP_SOCKET:
        described["tcp_socket"] = {"host": probe.host, "port": probe.port}
    elif probe.kind is ProbeKind.GRPC:
        described["grpc"] = {"port": int(probe.port), "service": probe.grpc_service}
    elif probe.http_get is not None:
        get = probe.http_get
        described["http_get"] = {
            "host": probe.host,
            "path": get.path,
            "port": probe.port,
            "scheme": get.scheme,
            "headers": [list(header) for header in get.headers],
        }
    return described
