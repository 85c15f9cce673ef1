"""The annotation `serving.knuv.dev/waiting-page`: who is shown the page, and that it wakes the revision."""

import pytest

from tests.conformance.activator.world import Headers, surroundings

BROWSER = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("Sec-Fetch-Dest", "document")]


async def test_a_browser_is_shown_a_page_until_there_is_a_pod() -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations={"serving.knuv.dev/waiting-page": "true"})
        await world.start()
        page = await world.get(headers=BROWSER)
        assert (page.status, page.get("content-type"), page.get("cache-control")) == (
            503,
            "text/html; charset=utf-8",
            "no-store",
        )
        assert b'http-equiv="refresh"' in page.body
        (message,) = (await world.autoscaler.frame(0)).messages
        assert message.stat.request_count == 1, "it wakes the revision"
        pod = await world.pod(10)
        waiting = world.start_get()
        await world.endpoints(ready=[pod])
        assert (await waiting).body == b"pod-10"
        assert (await world.get(headers=BROWSER)).body == b"pod-10"


@pytest.mark.parametrize(
    ("annotation", "method", "headers"),
    [
        ("false", "GET", BROWSER),
        ("true", "POST", BROWSER),
        ("true", "GET", [("Accept", "application/json")]),
        ("true", "GET", [("Accept", "text/html"), ("Sec-Fetch-Dest", "iframe")]),
    ],
    ids=["not asked for", "method", "media type", "destination"],
)
async def test_others_wait(annotation: str, method: str, headers: Headers) -> None:
    async with surroundings(network={}) as world:
        await world.revision(annotations={"serving.knuv.dev/waiting-page": annotation})
        await world.start()
        waiting = world.start_get(method=method, headers=headers)
        await world.autoscaler.heard_of(1)
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        assert (await waiting).body == b"pod-10"
