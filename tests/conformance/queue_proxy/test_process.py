"""Statements 1 to 7 (6 stands in `test_metrics.py`): what the process reads, which ports it opens, and how it fails."""

import json

import pytest

from tests.support.http import running_app
from tests.support.queue_proxy import MAIN_PORT, environment, exit_of, running_queue_proxy


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in environment().items() if key != name}


async def test_01_a_missing_variable_is_named_and_the_exit_code_is_1() -> None:
    code, stderr = await exit_of(without("USER_PORT"))
    assert (code, stderr) == (1, "required key USER_PORT missing value\n")


async def test_01_everything_that_is_wrong_is_told_at_once() -> None:
    code, stderr = await exit_of(without("USER_PORT") | {"REVISION_TIMEOUT_SECONDS": "5s"})
    assert code == 1
    assert {line.split("=")[0].split(" ")[-3 if "missing" in line else 0] for line in stderr.splitlines()} == {
        "USER_PORT",
        "REVISION_TIMEOUT_SECONDS",
    }


async def test_02_a_number_may_not_be_empty() -> None:
    code, stderr = await exit_of(environment(CONTAINER_CONCURRENCY=""))
    assert code == 1
    assert "CONTAINER_CONCURRENCY" in stderr


async def test_02_a_text_may_be_empty() -> None:
    async with running_queue_proxy(SERVING_CONFIGURATION="", SERVING_LOGGING_LEVEL="") as proxy:
        assert (await proxy.probe()).status == 200


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"metrics": 5}'])
async def test_03_observability_settings_have_to_be_json(text: str) -> None:
    code, stderr = await exit_of(environment(OBSERVABILITY_CONFIG=text))
    assert code == 1
    assert "OBSERVABILITY_CONFIG" in stderr


async def test_03_empty_sections_and_unknown_keys_are_fine() -> None:
    settings = {"tracing": {}, "metrics": {}, "runtime": {}, "requestMetrics": {}, "unknown": 5}
    async with running_queue_proxy(OBSERVABILITY_CONFIG=json.dumps(settings)) as proxy:
        assert (await proxy.probe()).status == 200


@pytest.mark.parametrize("text", ["{", "x", '"x"', "NaN", '{"tcpSocket": 5}', "[" * 100_000])
async def test_04_a_readiness_probe_that_is_none_ends_it(text: str) -> None:
    code, stderr = await exit_of(environment(SERVING_READINESS_PROBE=text))
    assert code == 1
    assert "SERVING_READINESS_PROBE" in stderr
    assert stderr.count("\n") == 1


async def test_05_which_ports_accept() -> None:
    async with running_queue_proxy() as proxy:
        accepting = {port: proxy.accepts(port) for port in (MAIN_PORT, 8022, 9090, 9091, 8008, 8112)}
    assert accepting == {MAIN_PORT: True, 8022: True, 9090: True, 9091: False, 8008: False, 8112: False}


async def test_07_the_serving_port_is_the_one_that_is_configured() -> None:
    async with (
        running_app() as app,
        running_queue_proxy(app.port, QUEUE_SERVING_PORT="8013", KNUV_SINGLE_PORT="1") as proxy,
    ):
        assert (await proxy.fetch()).body == b"hello"
        assert not proxy.accepts(MAIN_PORT)


async def test_a_port_in_use_is_one_line_and_exit_code_1() -> None:
    async with running_queue_proxy() as proxy:
        code, stderr = await exit_of(environment(KNUV_BIND_ADDRESS=proxy.host))
    assert code == 1
    assert stderr.count("\n") == 1
    assert "address already in use" in stderr.lower()


async def test_a_connection_that_says_nothing_costs_others_nothing() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        silent = [await proxy.open() for _ in range(20)]
        for client in silent:
            await client.send("GET / HT")
        assert (await proxy.fetch()).body == b"hello"
        await silent[0].send("TP/1.1\r\nHost: h\r\n\r\n")
        assert (await silent[0].response()).body == b"hello"
