"""Statements 72 to 74: what is written about requests on standard output."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kube.models.core import ConfigMap
from tests.conformance.activator.world import SYSTEM, World, surroundings
from tests.support.processes import eventually

ENABLED = "logging.enable-request-log"
TEMPLATE = "logging.request-log-template"


class Lines:
    """What the activator wrote on standard output."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._data = b""

    @property
    def all(self) -> list[str]:
        try:
            while data := os.read(self._reader, 1 << 16):
                self._data += data
        except BlockingIOError:
            pass
        return self._data.decode().splitlines()

    async def count(self, expected: int) -> list[str]:
        await eventually(lambda: len(self.all) >= expected)
        assert len(self.all) == expected
        return self.all


@asynccontextmanager
async def logging_world(data: dict[str, str], **environ: str) -> AsyncIterator[tuple[World, Lines]]:
    """A running activator with a pod, and its standard output."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        async with surroundings(network={}, observability=data, **environ) as world:
            world.stdout = writer
            await world.revision()
            await world.endpoints(ready=[await world.pod(10)])
            await world.start()
            yield world, Lines(reader)
    finally:
        os.close(reader)
        os.close(writer)


async def configure(world: World, data: dict[str, Any], event: str, count: int) -> None:
    """Change config-observability and wait until the activator says what it makes of it, for the `count`th time."""
    await world.client.patch(ConfigMap, "config-observability", SYSTEM, {"data": data})
    await world.logged(event, count)


async def test_statement_72_request_lines_begin_and_stop_without_a_restart() -> None:
    async with logging_world({TEMPLATE: "{{.Request.RequestURI}}"}) as (world, lines):
        assert (await world.get(path="/before")).status == 200
        await configure(world, {ENABLED: "true"}, "request_log", 1)
        assert (await world.get(path="/logged")).status == 200
        assert await lines.count(1) == ["/logged"]
        await configure(world, {ENABLED: "false"}, "request_log", 2)
        assert (await world.get(path="/after")).status == 200
        await configure(world, {ENABLED: "true"}, "request_log", 3)
        assert (await world.get(path="/again")).status == 200
        assert await lines.count(2) == ["/logged", "/again"]


@pytest.mark.parametrize("wrong", [{TEMPLATE: "{{.Request.Method"}, {TEMPLATE: ""}, {ENABLED: "perhaps"}])
async def test_statement_72_an_invalid_setting_leaves_the_previous_template_in_force(wrong: dict[str, str]) -> None:
    async with logging_world({ENABLED: "true", TEMPLATE: "one {{.Request.RequestURI}}"}) as (world, lines):
        assert (await world.get(path="/a")).status == 200
        await configure(world, wrong, "request_log_unreadable", 1)
        assert (await world.get(path="/b")).status == 200
        assert await lines.count(2) == ["one /a", "one /b"]
        await configure(world, {ENABLED: "true", TEMPLATE: "two {{.Request.RequestURI}}"}, "request_log", 2)
        assert (await world.get(path="/c")).status == 200
        assert (await lines.count(3))[2] == "two /c"


async def test_statement_73_the_pod_and_the_trace_are_not_told() -> None:
    async with logging_world({ENABLED: "true", TEMPLATE: "{{.Revision.PodName}}|{{.TraceID}}"}) as (world, lines):
        traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        assert (await world.get(headers=[("traceparent", traceparent), ("X-B3-TraceId", "80f1")])).status == 200
        assert await lines.count(1) == ["|"]


async def test_statement_74_unknown_revisions_and_probes_are_not_logged() -> None:
    async with logging_world({ENABLED: "true", TEMPLATE: "{{.Response.Code}}"}) as (world, lines):
        assert (await world.get(revision=("ns", "unknown"))).status == 404
        assert (await world.get(headers=[("K-Network-Probe", "activator")])).status == 200
        assert (await world.get(headers=[("K-Network-Probe", "queue")])).status == 400
        assert (await world.get(headers=[("User-Agent", "kube-probe/1.34")])).status == 200
        assert (await world.get()).status == 200
        assert await lines.count(1) == ["200"]


async def test_the_default_template_and_the_names_of_the_revision() -> None:
    async with logging_world({ENABLED: "true"}) as (world, lines):
        assert (await world.get(method="POST", path="/a?b=c", body=b"1234")).status == 200
        (line,) = await lines.count(1)
        request = json.loads(line)["httpRequest"]
        assert (request["requestMethod"], request["requestUrl"], request["requestSize"]) == ("POST", "/a?b=c", "4")
        assert (request["status"], request["responseSize"], request["serverIp"]) == (200, "6", "")
        names = "{{.Revision.Name}} {{.Revision.Namespace}} {{.Revision.Service}} {{.Revision.Configuration}}"
        await configure(world, {TEMPLATE: names}, "request_log", 2)
        await world.get()
        assert (await lines.count(2))[1] == "rev ns svc conf"


async def test_headers_show_what_the_activator_adds() -> None:
    template = "{{range $name, $values := .Request.Header}}{{$name}}={{index $values 0}};{{end}}"
    async with logging_world({ENABLED: "true", TEMPLATE: template}) as (world, lines):
        await world.get(headers=[("K-Network-Hash", "h"), ("X-A", "1")])
        (line,) = await lines.count(1)
        assert line == (
            "K-Original-Host=rev.example.com;K-Proxy-Request=activator;"
            "Knative-Serving-Namespace=ns;Knative-Serving-Revision=rev;X-A=1;"
        )
        await world.get(headers=[("K-Original-Host", "mine")])
        assert "K-Original-Host=mine;" in (await lines.count(2))[1]


async def test_a_request_that_was_never_forwarded_is_logged_as_it_came() -> None:
    template = '{{.Response.Code}} {{.Request.Header.Get "K-Proxy-Request"}}.'
    async with logging_world({ENABLED: "true", TEMPLATE: template}, KNUV_HELD_REQUESTS_MAX="1") as (world, lines):
        await world.revision("cold")
        waiting = world.start_get(revision=("ns", "cold"))
        await world.autoscaler.heard_of(1)
        assert (await world.get(revision=("ns", "cold"))).status == 503
        assert await lines.count(1) == ["503 ."]
        waiting.cancel()
        await asyncio.wait([waiting])
