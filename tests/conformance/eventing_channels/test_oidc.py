"""Who may send to a channel, and with whose token it delivers, while OIDC is on (spec eventing-channels.md 3.3, 5)."""

import json
from typing import Any

import pytest

from kube.models.core import ConfigMap, ServiceAccount
from kube.models.meta import ObjectMeta
from tests.broker.issuer import Issuer
from tests.support.dispatcher import SYSTEM, Channel, World, dead_letters_to, subscriber
from tests.support.http import Call, running_app
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_channel_asks_who_sends(world: World) -> None:
    issuer = Issuer()

    async def answer(call: Call) -> None:
        content: Any = {"issuer": issuer.url, "jwks_uri": f"http://127.0.0.1:{app.port}/keys"}
        is_discovery = call.target == "/.well-known/openid-configuration"
        await call.respond(200, json.dumps(content).encode() if is_discovery else issuer.jwks())

    async def status(channel: Channel, token: bytes = b"") -> int:
        lines = (f"Authorization: Bearer {token.decode()}",) if token else ()
        return (await world.send(channel, *lines)).status

    channel = await world.channel()
    async with running_app(answer) as app:
        flags = {"authentication-oidc": "enabled", "oidc-discovery-base-url": f"http://127.0.0.1:{app.port}/"}
        metadata = ObjectMeta(name="config-features", namespace=SYSTEM)
        await world.client.create(ConfigMap(metadata=metadata, data=flags))

        async def is_on() -> bool:
            return await status(channel) == 401

        await eventually(is_on)
        ours, theirs = "system:serviceaccount:ns:me", "system:serviceaccount:other:me"
        audience = f"messaging.knative.dev/inmemorychannel/ns/{channel.name}"
        assert await status(channel, issuer.token(ours, "another")) == 401
        assert await status(channel, issuer.token(theirs, audience)) == 403
        assert await status(channel, issuer.token(ours, audience)) == 202
        # Unknown beats unauthorized, invalid beats both.
        assert (await world.send(channel, event=())).status == 400
        assert (await world.request("OPTIONS", channel.path)).status == 200
        await world.client.delete(ConfigMap, "config-features", SYSTEM)

        async def is_off() -> bool:
            return await status(channel) == 202

        await eventually(is_off)


async def test_who_has_an_audience_gets_a_token_for_it(world: World) -> None:
    await world.client.create(ServiceAccount(metadata=ObjectMeta(name="sender", namespace="ns")))
    sink, dead = await world.sink(400), await world.sink()
    delivery = dead_letters_to(dead.url)
    entry = subscriber(sink.url, subscriberAudience="them", auth={"serviceAccountName": "sender"}, delivery=delivery)
    assert (await world.send(await world.channel(entry))).status == 202
    kind, _, token = (sink.got[0].get("authorization") or "").partition(" ")
    assert kind == "Bearer"
    assert token
    assert dead.got[0].get("authorization") is None, "the sink has no audience"


async def test_without_a_token_nothing_is_sent_to_who_has_an_audience(world: World) -> None:
    sink, dead = await world.sink(), await world.sink()
    delivery = dead_letters_to(dead.url)
    entry = subscriber(sink.url, subscriberAudience="them", auth={"serviceAccountName": "nobody"}, delivery=delivery)
    assert (await world.send(await world.channel(entry))).status == 202
    assert not sink.got
    assert len(dead.got) == 1
