"""Replays `activator_stats`: what an activator reports at once and each second."""

from typing import Any

from activator.loads import FIRST_CONCURRENCY, FIRST_COUNT, Loads, RevisionKey
from tests.golden.replay import Golden, same


def test_activator_stats(golden: Golden) -> None:
    with golden("activator_stats") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    loads = Loads()
    inside: dict[int, RevisionKey] = {}
    for index, (t_us, op, *arguments) in enumerate(case["ops"]):
        now_s = t_us / 1e6
        what = f"ops[{index}] {op}"
        if op == "in":
            id_, revision, sent = arguments
            inside[id_] = key(revision)
            first = loads.request_in(inside[id_], now_s)
            same([FIRST_CONCURRENCY, FIRST_COUNT] if first else None, sent, what)
        elif op == "out":
            loads.request_out(inside.pop(arguments[0]), now_s)
        else:
            expected, tracked = arguments
            got = {text(load.key): [load.concurrency, load.request_count] for load in loads.report(now_s)}
            # Seconds as doubles instead of whole nanoseconds: sums differ in the last digits.
            same(got, expected, what, absolute=1e-9)
            same(sorted(map(text, loads.tracked)), sorted(tracked), f"{what}: tracked")


def key(revision: str) -> RevisionKey:
    return RevisionKey(*revision.encode().split(b"/"))


def text(revision: RevisionKey) -> str:
    return b"/".join(revision).decode()
