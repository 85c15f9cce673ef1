"""Whom the processes believe that it is a sink over TLS (spec 3.3): authorities in ConfigMaps, as they come."""

import asyncio
import ssl
from pathlib import Path

import pytest

from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from tests.conformance.eventing_broker.world import DEADLINE_S, SYSTEM, World
from tests.support.certificates import Authority
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_bundle_of_authorities_is_believed_as_soon_as_it_is_there(world: World, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1"))

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        trigger, broker = await world.trigger(url), await world.broker(url)
        refused = await world.dispatch(trigger)
        assert refused.status == 500
        assert (await world.produce(broker)).status == 500
        labels = {"networking.knative.dev/trust-bundle": "true"}
        metadata = ObjectMeta(name="our-authorities", namespace=SYSTEM, labels=labels)
        data = {"nonsense.pem": "none", "ca.pem": authority.ca_file.read_text()}
        await world.client.create(ConfigMap(metadata=metadata, data=data))

        async def is_believed() -> bool:
            return (await world.dispatch(trigger)).status == (await world.produce(broker)).status == 202

        await eventually(is_believed, timeout_s=DEADLINE_S)
        await world.client.delete(ConfigMap, "our-authorities", SYSTEM)
    finally:
        server.close()
        await server.wait_closed()
