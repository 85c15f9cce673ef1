"""How long an informer waits before it asks a server again that has too much to do."""

import asyncio
from itertools import pairwise

import pytest

from kube.client import Client
from kube.config import ApiConfig
from kube.informer import Informer
from kube.models.core import ConfigMap
from tests.kube.scripted_server import Peer, serving


@pytest.mark.parametrize(("said_s", "most_s"), [("0.2", 60.0), ("1e9", 0.2)])
async def test_a_server_is_left_in_peace_for_as_long_as_it_says_within_limits(
    monkeypatch: pytest.MonkeyPatch, said_s: str, most_s: float
) -> None:
    monkeypatch.setattr("kube.informer._ASKED_MAX_S", most_s)
    asked_at: list[float] = []

    async def script(peer: Peer, request: bytes) -> None:
        if b"watch=true" in request:
            await peer.left()
        asked_at.append(asyncio.get_running_loop().time())
        if len(asked_at) < 3:
            await peer.answer(b'{"details": {"retryAfterSeconds": %s}}' % said_s.encode(), 429)
        else:
            await peer.answer(b'{"metadata": {"resourceVersion": "1"}, "items": []}')

    async with serving(script) as server, asyncio.timeout(10), Client(ApiConfig(server=server.url)) as client:
        informer = Informer(client, ConfigMap)
        await informer.start()
        await informer.stop()
    assert all(later - sooner >= 0.2 for sooner, later in pairwise(asked_at[:3]))
    assert len(asked_at) >= 3
