"""Which probes run when there are more than may."""

from collections.abc import Callable

from activator.probe_slots import ProbeSlots, Slot


class Claims:
    """Claims by name, and those that run in the order of their start."""

    def __init__(self, limit: int) -> None:
        self.slots = ProbeSlots(limit)
        self.started: list[str] = []
        self.claims: dict[str, Slot] = {}

    def claim(self, names: str) -> None:
        """Upper case: repeated."""
        for name in names:
            self.claims[name] = self.slots.claim(self._start(name), is_repeated=name.isupper())

    def end(self, names: str) -> None:
        for name in names:
            self.slots.end(self.claims[name])

    def since(self) -> str:
        started, self.started = "".join(self.started), []
        return started

    def _start(self, name: str) -> Callable[[], None]:
        return lambda: self.started.append(name)


def test_at_most_so_many_run_and_the_others_follow_in_their_order() -> None:
    claims = Claims(2)
    claims.claim("abcd")
    assert claims.since() == "ab"
    claims.end("b")
    assert claims.since() == "c"
    claims.end("ac")
    assert claims.since() == "d"


def test_first_probes_come_before_repeated_ones_which_take_half_of_the_slots_only() -> None:
    claims = Claims(4)
    claims.claim("ABCD")
    assert claims.since() == "AB"
    claims.claim("abc")
    assert claims.since() == "ab"
    claims.end("A")
    assert claims.since() == "c"
    claims.end("abc")
    assert claims.since() == "C"


def test_what_is_not_wanted_any_more_gives_up_its_slot_once() -> None:
    claims = Claims(1)
    claims.claim("abcd")
    claims.end("b")
    claims.end("aa")
    assert claims.since() == "ac"
    claims.end("c")
    assert claims.since() == "d"
