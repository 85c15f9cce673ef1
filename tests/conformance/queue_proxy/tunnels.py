"""An upgraded connection that gives back what it gets."""

from tests.support.http import Call, Client
from tests.support.queue_proxy import QueueProxy

__all__ = ["echo_tunnel", "open_tunnel"]


async def echo_tunnel(call: Call) -> None:
    """The app: accept the upgrade, greet, echo."""
    await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
    while data := await call.reader.read(1024):
        await call.send(data)


async def open_tunnel(proxy: QueueProxy, client: Client | None = None) -> Client:
    """The client: ask for the upgrade, on a connection to the main port unless there is one, and read the greeting."""
    client = client or await proxy.open()
    await client.request(headers=["Connection: Upgrade", "Upgrade: echo"])
    response = await client.head()
    assert (response.status, response.value("upgrade"), response.value("connection")) == (101, "echo", "Upgrade")
    assert await client.reader.readexactly(6) == b"hello "
    return client
