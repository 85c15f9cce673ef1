"""What `config-logging` says of our level, and that it holds while we run."""

import json

import pytest

from activator.log_level import level_of
from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from tests.conformance.activator.world import SYSTEM, surroundings


@pytest.mark.parametrize(
    ("data", "level"),
    [
        ({}, "info"),
        ({"loglevel.activator": "Debug"}, "debug"),
        ({"zap-logger-config": json.dumps({"level": "error"})}, "error"),
        ({"zap-logger-config": json.dumps({"level": "error"}), "loglevel.activator": "warn"}, "warn"),
        ({"zap-logger-config": "{}"}, "info"),
        ({"zap-logger-config": "{"}, None),
        ({"zap-logger-config": "[]"}, None),
        ({"loglevel.activator": "loud"}, None),
    ],
)
def test_the_level_of_a_map(data: dict[str, str], level: str | None) -> None:
    assert level_of(data) == level


async def test_the_level_follows_the_map_without_a_restart() -> None:
    async with surroundings(network={}) as world:
        metadata = ObjectMeta(name="config-logging", namespace=SYSTEM)
        await world.client.create(ConfigMap(metadata=metadata, data={"loglevel.activator": "info"}))
        await world.revision()
        await world.start()
        await world.client.patch(ConfigMap, "config-logging", SYSTEM, {"data": {"loglevel.activator": "debug"}})
        assert (await world.logged("log_level"))["level"] == "debug"
        await world.client.patch(ConfigMap, "config-logging", SYSTEM, {"data": {"loglevel.activator": "loud"}})
        await world.logged("log_level_unreadable")
        await world.client.patch(ConfigMap, "config-logging", SYSTEM, {"data": {"loglevel.activator": "error"}})
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        assert (await world.get()).status == 200
        await world.client.patch(ConfigMap, "config-logging", SYSTEM, {"data": {"loglevel.activator": "info"}})
        assert (await world.logged("log_level", 2))["level"] == "info"
        assert "backends_changed" not in [line["message"] for line in world.log], "only errors were logged then"
