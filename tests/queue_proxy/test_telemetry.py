"""`queue_proxy/telemetry.py`: everybody hears, and the tracer edits."""

from typing import Any, cast

from proxies.exchange import Exchange
from proxies.headers import Edits, HeadEdits
from queue_proxy.telemetry import combined


class Listener:
    def __init__(self) -> None:
        self.own_edits: Edits = HeadEdits()
        self.heard: list[Any] = []

    def edits(self, exchange: Exchange) -> Edits:
        return self.own_edits

    def ended(self, exchange: Exchange, now_s: float) -> None:
        self.heard.append(("ended", exchange, now_s))

    def probe_ended(self, exchange: Exchange, now_s: float) -> None:
        self.heard.append(("probe", exchange, now_s))


EXCHANGE = cast("Exchange", object())


def test_nobody_is_nothing_and_one_is_itself() -> None:
    listener = Listener()
    assert combined() is None
    assert combined(listener) is listener
    assert combined(tracer=listener) is listener


def test_all_hear_everything_once() -> None:
    listeners = [Listener(), Listener(), Listener()]
    together = combined(*listeners[1:], tracer=listeners[0])
    assert together is not None
    together.ended(EXCHANGE, 1.0)
    together.probe_ended(EXCHANGE, 2.0)
    for listener in listeners:
        assert listener.heard == [("ended", EXCHANGE, 1.0), ("probe", EXCHANGE, 2.0)]


def test_the_tracers_edits_count_else_the_firsts() -> None:
    first, second = Listener(), Listener()
    traced = combined(first, tracer=second)
    untraced = combined(first, second)
    assert traced is not None
    assert untraced is not None
    assert traced.edits(EXCHANGE) is second.own_edits
    assert untraced.edits(EXCHANGE) is first.own_edits
