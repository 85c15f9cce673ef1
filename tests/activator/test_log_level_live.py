"""That `config-logging` sets the level of the activator's log while it runs."""

from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from tests.conformance.activator.world import SYSTEM, surroundings


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
