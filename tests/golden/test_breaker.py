"""Replays `breaker`: scripts of admission, waiting, cancelling and changing capacity."""

from typing import Any

import pytest

from proxies.breaker import Admission, Breaker, Gate
from tests.golden.replay import Golden, same


def test_breaker(golden: Golden) -> None:
    with golden("breaker") as vectors:
        vectors.each("cases", check_case)
        vectors.each("construction", check_construction)


def check_construction(row: list[Any]) -> None:
    queue_depth, concurrency, capacity, error = row
    if error is None:
        Breaker[int](queue_depth=queue_depth, concurrency=concurrency, capacity=capacity)
        return
    with pytest.raises(ValueError, match=f"got {error.rsplit(' ', 1)[1]}".removesuffix(".")):
        Breaker[int](queue_depth=queue_depth, concurrency=concurrency, capacity=capacity)


class Replay:
    """Carries out one script and keeps what a caller of the breaker knows: who runs, who waits, who has a deadline."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.is_gate = case["kind"] == "infinite"
        self.breaker: Breaker[int] | Gate[int]
        if self.is_gate:
            self.breaker = Gate(is_open=case["initial_capacity"] > 0)
        else:
            self.breaker = Breaker(
                queue_depth=case["queue_depth"],
                concurrency=case["max_concurrency"],
                capacity=case["initial_capacity"],
            )
        self.now_ms = 0
        self.running: list[int] = []
        self.waiting: list[int] = []
        self.deadlines: dict[int, int] = {}
        self.ended: list[list[object]] = []

    def run(self, op: str, arguments: list[Any]) -> dict[str, Any]:
        self.ended = []
        getattr(self, op.replace("-", "_"))(*arguments)
        return {
            "capacity": self.breaker.capacity,
            "in_flight": None if isinstance(self.breaker, Gate) else self.breaker.in_flight,
            "ended": sorted(self.ended),
            "running": sorted(self.running),
            "waiting": sorted(self.waiting),
        }

    def maybe(self, id_: int) -> None:
        admission = self.breaker.admit(id_)
        if admission is Admission.RUN:
            self.running.append(id_)
        elif admission is Admission.WAIT:
            self.waiting.append(id_)
        else:
            self.ended.append([id_, "queue-full"])

    def maybe_timeout(self, id_: int, timeout_ms: int) -> None:
        self.deadlines[id_] = self.now_ms + timeout_ms
        self.maybe(id_)

    def reserve(self, id_: int, ok: bool) -> None:
        assert self.breaker.reserve() is ok, f"reserve {id_}"

    def finish(self, id_: int) -> None:
        self.running.remove(id_)
        self.ended.append([id_, "ok"])
        self.promote(self.breaker.release())

    def release(self, _id: int) -> None:
        self.promote(self.breaker.release())

    def cancel(self, id_: int, reason: str = "canceled") -> None:
        if id_ not in self.waiting:
            return
        self.breaker.cancel(id_)
        self.waiting.remove(id_)
        self.ended.append([id_, reason])

    def update(self, capacity: int) -> None:
        for id_ in self.breaker.update(capacity):
            self.promote(id_)

    def sleep(self, ms: int) -> None:
        self.now_ms += ms
        for id_, due_ms in sorted(self.deadlines.items(), key=lambda item: item[1]):
            if due_ms <= self.now_ms:
                self.cancel(id_, "deadline")

    def promote(self, id_: int | None) -> None:
        if id_ is not None:
            self.waiting.remove(id_)
            self.running.append(id_)


def check_case(case: dict[str, Any]) -> None:
    replay = Replay(case)
    for index, (op, *arguments, state) in enumerate(case["ops"]):
        state = {**state, **{key: sorted(state[key]) for key in ("ended", "running", "waiting")}}
        same(replay.run(op, arguments), state, f"ops[{index}] {op}")
