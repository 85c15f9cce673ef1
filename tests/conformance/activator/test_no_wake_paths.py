"""The annotation `serving.knuv.dev/no-wake-paths`: what does not wake a revision, and that it does not."""

from tests.conformance.activator.world import surroundings


async def test_paths_that_are_not_worth_a_cold_start() -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations={"serving.knuv.dev/no-wake-paths": "/favicon.ico, /.well-known/*"})
        await world.start()
        for path in ("/favicon.ico", "/favicon.ico?v=1", "/.well-known/", "/.well-known/a/b"):
            response = await world.get(path=path)
            assert response.status == 503
            assert b"does not wake" in response.body
        waiting = [world.start_get(path=path) for path in ("/", "/favicon.icon", "/a/favicon.ico")]
        await world.autoscaler.heard_of(3)
        # The first report is of the first request that counts.
        counts = [message.stat.request_count for frame in world.autoscaler.frames for message in frame.messages]
        assert sum(counts) == 3
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        assert {(await request).status for request in waiting} == {200}
        assert (await world.get(path="/favicon.ico")).body == b"pod-10", "awake, it is a path as any other"
