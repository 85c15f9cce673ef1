"""How requests that waited are forwarded when there is a first pod: some in each turn of the loop."""

import asyncio
from types import SimpleNamespace
from typing import Any

from activator.active_revision import ActiveRevision
from activator.objects import Metadata, Revision
from activator.throttler import Snapshot
from proxies.exchange import Exchange
from proxies.heads import parse_request
from proxies.logs import Logger

COUNT = 500


class Pods:
    """A pool whose endpoints take down what is sent, and when."""

    def __init__(self) -> None:
        self.turn = 0
        self.sent: list[tuple[Exchange, int]] = []
        self.is_counting = True

    def count_turns(self) -> None:
        self.turn += 1
        if self.is_counting:
            asyncio.get_running_loop().call_soon(self.count_turns)

    def endpoint(self, *_way: Any, **_options: Any) -> Any:
        return SimpleNamespace(carry=lambda exchange: self.sent.append((exchange, self.turn)), close=lambda: None)


def exchange() -> Exchange:
    return Exchange(
        SimpleNamespace(wake_at=lambda due_s: None),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        parse_request(b"GET / HTTP/1.1\r\nHost: h"),
        peer=b"10.1.2.3",
        clock=lambda: 1.0,
        data=b"",
        body=None,
        request_done=True,
    )


async def test_thousands_are_not_dialled_in_one_turn_of_the_loop() -> None:
    pods, log = Pods(), list[bytes]()
    revision = ActiveRevision(
        Revision(metadata=Metadata(name="rev", namespace="ns")),
        pool=pods,  # type: ignore[arg-type]
        held_max=COUNT,
        held_bytes_max=1 << 30,
        passthrough_host=b"",
        suspect=lambda key, address, reason: None,
        retries=True,
        spreads=True,
        security=None,
        log=Logger("test", write=log.append),
    )
    waiting = [exchange() for _ in range(COUNT)]
    for each in waiting:
        revision.throttler.admit(each)
        revision.hold(each)
    pods.count_turns()
    revision.update(Snapshot(container_concurrency=0, pods=("10.0.0.1:8012", "10.0.0.2:8012")))
    at_once = len(pods.sent)
    assert 0 < at_once < 100
    # A change meanwhile does not make it two releases a turn.
    revision.update(Snapshot(container_concurrency=0, pods=("10.0.0.1:8012",)))
    async with asyncio.timeout(10):
        while len(pods.sent) < COUNT:  # noqa: ASYNC110 - turn by turn
            await asyncio.sleep(0)
    pods.is_counting = False
    assert [each for each, _ in pods.sent] == waiting, "not in the order in which they came"
    turns = [turn for _, turn in pods.sent if turn > 1]
    assert max(turns.count(turn) for turn in set(turns)) <= at_once
    assert f'"released":{COUNT}' in b"".join(log).decode().replace(" ", "")
