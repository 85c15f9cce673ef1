"""Replays `lb_policy`: which pod the next request goes to."""

from typing import Any

from activator.load_balancing import UNLIMITED, FirstAvailable, Policy, RandomChoiceOfTwo, RoundRobin, Target
from tests.golden.replay import Golden, same


def test_lb_policy(golden: Golden) -> None:
    with golden("lb_policy") as vectors:
        vectors.each("cases", check_case)


POLICIES: dict[str, type[Policy]] = {
    "random-choice-2": RandomChoiceOfTwo,
    "first-available": FirstAvailable,
    "round-robin": RoundRobin,
}


def check_case(case: dict[str, Any]) -> None:
    policy = POLICIES[case["policy"]]()
    capacity = UNLIMITED if case["policy"] == "random-choice-2" else case["container_concurrency"]
    known: dict[str, Target] = {}

    def target(name: str) -> Target:
        return known.setdefault(name, Target(name, capacity))

    targets = [target(f"pod-{index}") for index in range(case["targets"])]
    held: dict[int, Target] = {}
    for index, (op, *arguments) in enumerate(case["ops"]):
        if op == "pick":
            id_, expected = arguments
            picked = policy.pick(targets)
            same(picked.address if picked else None, expected, f"ops[{index}] pick {id_}")
            if picked:
                held[id_] = picked
                picked.in_flight += 1
        elif op == "hold":
            id_, name = arguments
            held[id_] = target(name)
            held[id_].in_flight += 1
        elif op == "release":
            held.pop(arguments[0]).in_flight -= 1
        else:
            targets = [target(name) for name in arguments[0]]
