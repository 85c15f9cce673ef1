"""grpcio on both sides: every kind of call, large messages, many streams, and every way to end early."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc.aio
import pytest

from tests.interop.calls import CALL_S, Echo, calling, failure
from tests.interop.conftest import Through
from tests.interop.grpc_app import checksum, numbered
from tests.interop.peers import grpc_app
from tests.support.processes import eventually

MIB = 1024 * 1024
LARGE = bytes(range(256)) * (10 * MIB // 256)
EOF = grpc.aio.EOF


@pytest.fixture
async def app() -> AsyncIterator[int]:
    async with grpc_app() as port:
        yield port


@pytest.fixture
async def direct(app: int) -> AsyncIterator[Echo]:
    """Calls to the app without any proxy, to ask what it saw."""
    async with calling("127.0.0.1", app) as echo:
        yield echo


@pytest.fixture
async def where(app: int, through: Through) -> AsyncIterator[tuple[str, int]]:
    async with through(app) as address:
        yield address


@pytest.fixture
async def echo(where: tuple[str, int]) -> AsyncIterator[Echo]:
    async with calling(*where) as echo:
        yield echo


async def test_a_unary_call_takes_its_metadata_both_ways(echo: Echo) -> None:
    call = echo.unary(b"hello", metadata=(("x-said", "good day"), ("x-raw-bin", b"\x00\xff")), timeout=CALL_S)
    assert await call == b"hello"
    assert dict(await call.initial_metadata())["x-said"] == "good day"
    assert dict(await call.trailing_metadata())["x-sum-bin"] == checksum(b"hello")


async def test_a_stream_of_requests_is_gathered(echo: Echo) -> None:
    messages = [numbered(number, 1000) for number in range(500)]
    answer = await echo.gather(iter(messages), timeout=CALL_S)
    assert answer == b"500 %s" % checksum(*messages).hex().encode()


async def test_a_stream_of_responses_comes_whole_and_in_order(echo: Echo) -> None:
    call = echo.scatter(b"500 1000", timeout=CALL_S)
    assert [message async for message in call] == [numbered(number, 1000) for number in range(500)]


async def test_a_conversation_goes_message_by_message(echo: Echo) -> None:
    call = echo.chat(timeout=CALL_S)
    for number in range(50):
        message = numbered(number, 100)
        await call.write(message)
        assert await call.read() == message
    await call.done_writing()
    assert await call.read() is EOF
    assert await failure(call) == ("OK", "")


async def test_messages_of_10_mib_pass_both_ways(echo: Echo) -> None:
    assert await echo.unary(LARGE, timeout=CALL_S) == LARGE
    call = echo.chat(iter([LARGE, LARGE]), timeout=CALL_S)
    assert [message == LARGE async for message in call] == [True, True]


async def test_1000_streams_are_open_at_once(where: tuple[str, int]) -> None:
    """Over four connections: a server may offer no more than 250 on one."""
    async with AsyncExitStack() as stack:
        echoes = [await stack.enter_async_context(calling(*where)) for _ in range(4)]
        calls = [echo.chat(timeout=CALL_S) for echo in echoes for _ in range(250)]
        for turn in range(2):
            await asyncio.gather(*(call.write(numbered(turn, 20)) for call in calls))
            assert set(await asyncio.gather(*(call.read() for call in calls))) == {numbered(turn, 20)}
        await asyncio.gather(*(call.done_writing() for call in calls))
        assert {(await failure(call))[0] for call in calls} == {"OK"}


async def test_a_client_that_cancels_is_seen_by_the_app(echo: Echo, direct: Echo) -> None:
    call = echo.hold(b"", timeout=CALL_S)
    assert await call.read() == b"held"
    assert (await direct.seen())["cancelled"] == 0
    call.cancel()

    async def is_seen() -> bool:
        return bool((await direct.seen())["cancelled"])

    await eventually(is_seen)
    assert await echo.unary(b"go on", timeout=CALL_S) == b"go on"


async def test_a_deadline_ends_the_call_and_reaches_the_app(echo: Echo, direct: Echo) -> None:
    call = echo.hold(b"", timeout=1.0)
    assert await call.read() == b"held"
    assert (await failure(call))[0] == "DEADLINE_EXCEEDED"
    assert 0 < (await direct.seen())["time_left_s"] <= 1.0

    async def is_seen() -> bool:
        return bool((await direct.seen())["cancelled"])

    await eventually(is_seen)


async def test_a_response_of_trailers_only_keeps_code_and_text(echo: Echo) -> None:
    for code, name in ((5, "NOT_FOUND"), (7, "PERMISSION_DENIED"), (16, "UNAUTHENTICATED")):
        call = echo.fail(f"{code} nothing: ö, 100 %".encode(), timeout=CALL_S)
        assert await failure(call) == (name, "nothing: ö, 100 %")
    assert (await failure(echo.unknown(b"", timeout=CALL_S)))[0] == "UNIMPLEMENTED"


async def test_an_error_behind_messages_comes_behind_them(echo: Echo) -> None:
    call = echo.fail_late(b"9 too late", timeout=CALL_S)
    assert [await call.read(), await call.read()] == [b"one", b"two"]
    assert await failure(call) == ("FAILED_PRECONDITION", "too late")


async def test_many_calls_at_once_each_get_their_own_answer(echo: Echo) -> None:
    messages = [numbered(number, 200) for number in range(500)]
    assert await asyncio.gather(*(echo.unary(message, timeout=CALL_S) for message in messages)) == messages


async def test_an_app_may_end_any_number_of_streams_before_their_clients_have_said_all(where: tuple[str, int]) -> None:
    """It resets each behind its trailers, on the one connection that the streams of all clients share."""

    async def ask(echo: Echo) -> set[str]:
        return {(await failure(echo.unknown_chat(timeout=CALL_S)))[0] for _ in range(25)}

    async with AsyncExitStack() as stack:
        echoes = [await stack.enter_async_context(calling(*where)) for _ in range(4)]
        codes = await asyncio.gather(*(ask(echo) for echo in echoes for _ in range(30)))
        assert set.union(*codes) == {"UNIMPLEMENTED"}
