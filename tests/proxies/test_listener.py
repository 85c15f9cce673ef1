"""`proxies/listener.py`: beyond the limit clients wait, unharmed, and one line says why."""

import asyncio
import io
import json
import resource

from proxies.listener import Listeners, connections_max, listening_socket
from proxies.logs import Logger
from tests.support.processes import eventually


class Greeter(asyncio.Protocol):
    """Greets whoever it accepts."""

    def __init__(self, room: "Room") -> None:
        self.room = room

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.room.inside.add(self)
        self.room.listeners.opened(len(self.room.inside))
        transport.write(b"hello")  # type: ignore[attr-defined]

    def connection_lost(self, error: Exception | None) -> None:
        self.room.inside.discard(self)
        self.room.listeners.closed(len(self.room.inside))


class Room:
    def __init__(self, limit: int | None) -> None:
        self.inside: set[Greeter] = set()
        self.log = io.BytesIO()
        self.listeners = Listeners(
            asyncio.get_running_loop(), lambda: Greeter(self), limit=limit, logger=Logger("room", write=self.log.write)
        )

    def events(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.log.getvalue().splitlines()]


async def greeted(reader: asyncio.StreamReader) -> bool:
    return await reader.readexactly(5) == b"hello"


async def test_beyond_the_limit_clients_wait_until_others_leave() -> None:
    room = Room(limit=10)
    sock = listening_socket("127.0.0.1", 0)
    address = sock.getsockname()
    await room.listeners.add(sock)
    clients = [await asyncio.open_connection(*address) for _ in range(40)]
    await eventually(lambda: len(room.inside) >= 10)
    served = 0
    try:
        async with asyncio.timeout(20):
            for reader, writer in clients:
                assert await greeted(reader)
                served += 1
                writer.close()
    finally:
        room.listeners.close()
        for _, writer in clients:
            writer.close()
    assert served == 40
    # The loop accepts one connection a turn, so a turn that is under way may take one more.
    assert room.events().count("accept_paused") in range(1, 40)
    await eventually(lambda: not room.inside)


async def test_one_episode_is_one_line() -> None:
    room = Room(limit=2)
    sock = listening_socket("127.0.0.1", 0)
    address = sock.getsockname()
    await room.listeners.add(sock)
    clients = [await asyncio.open_connection(*address) for _ in range(10)]
    await eventually(lambda: len(room.inside) >= 2)
    assert room.events() == ["accept_paused"]
    room.listeners.close()
    for _, writer in clients:
        writer.close()
    await eventually(lambda: not room.inside)


async def test_a_closed_listener_does_not_come_back() -> None:
    room = Room(limit=1)
    sock = listening_socket("127.0.0.1", 0)
    address = sock.getsockname()
    await room.listeners.add(sock)
    _, writer = await asyncio.open_connection(*address)
    await eventually(lambda: len(room.inside) == 1)
    room.listeners.close()
    writer.close()
    await eventually(lambda: not room.inside)
    try:
        await asyncio.open_connection(*address)
    except ConnectionRefusedError:
        return
    raise AssertionError("somebody listened")


def test_the_limit_leaves_a_descriptor_for_each_upstream() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    main, side = connections_max(is_side_port=False), connections_max(is_side_port=True)
    assert side is not None
    assert main is None or 2 * main + 3 * side < soft
