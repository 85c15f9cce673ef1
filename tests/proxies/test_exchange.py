"""`proxies/exchange.py` between two recorded halves: what each side is told, in which order, and that it ends once."""

import pytest

from proxies.exchange import Exchange, Outcome
from proxies.headers import HeadEdits
from proxies.http1 import parse_request, parse_response
from proxies.messages import Answer, RequestHead, ResponseHead
from proxies.roles import Ending
from proxies.timeouts import TimeoutLimits, Timer

EDITS = HeadEdits()
GET = parse_request(b"GET / HTTP/1.1\r\nHost: h")
POST = parse_request(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6")
OK = parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 4")
LIMITS = TimeoutLimits(max_duration_s=10, response_start_s=2, idle_s=3)


class Script:
    """Client, app, pool and policy in one: everything they are told goes to `said`, in order."""

    def __init__(self, request: RequestHead = GET, data: bytes = b"", *, request_done: bool = True) -> None:
        self.said: list[str] = []
        self.now_s = 100.0
        self.wake_s = 0.0
        self.carried = 0
        self.carried_fresh = 0
        self.is_reused = False
        self.exchange = Exchange(
            self,
            self,
            request,
            peer=b"1.2.3.4",
            clock=lambda: self.now_s,
            data=data,
            body=None,
            request_done=request_done,
        )

    def since(self) -> list[str]:
        """What was said since the last call."""
        said, self.said = self.said, []
        return said

    # Policy.
    def admit(self, exchange: Exchange) -> None: ...
    def cancelled(self, exchange: Exchange) -> None:
        self.said.append("policy: cancelled")

    def ended(self, exchange: Exchange) -> None:
        assert exchange.outcome is not None
        self.said.append(f"policy: ended {exchange.outcome.value} {exchange.status}")

    # Downstream.
    def inform(self, head: ResponseHead) -> None:
        self.said.append(f"client: interim {head.status}")

    def respond(self, head: ResponseHead, data: bytes, is_done: bool) -> None:
        self.said.append(f"client: {head.status} {data.decode()} {is_done}")

    def respond_data(self, data: bytes, is_done: bool) -> None:
        self.said.append(f"client: data {data.decode()} {is_done}")

    def respond_tunnel(self, head: ResponseHead, data: bytes) -> None:
        self.said.append(f"client: tunnel {data.decode()}")

    def tunnel_data(self, data: bytes) -> None:
        self.said.append(f"client: tunnelled {data.decode()}")

    def tunnel_eof(self) -> None:
        self.said.append("client: eof")

    def give_answer(self, answer: Answer) -> None:
        self.said.append(f"client: answer {answer.status}")

    def cut_short(self, ending: Ending) -> None:
        self.said.append(f"client: cut short {ending.data.decode()}")

    def abort(self) -> None:
        self.said.append("client: aborted")

    def wake_at(self, due_s: float) -> None:
        self.wake_s = due_s

    def pause_request(self) -> None:
        self.said.append("client: pause")

    def resume_request(self) -> None:
        self.said.append("client: resume")

    def release(self, exchange: Exchange) -> None:
        self.said.append("client: released")

    # Target.
    def carry(self, exchange: Exchange, *, fresh: bool = False) -> None:
        self.carried += 1
        self.carried_fresh += fresh

    def connect(self) -> None:
        """The target found a connection."""
        self.said.append(f"app: {self.exchange.take_body().decode()} {self.exchange.request_done}")
        self.exchange.connected(self)

    # Upstream.
    def send(self, data: bytes, is_done: bool) -> None:
        self.said.append(f"app: data {data.decode()} {is_done}")

    def send_eof(self) -> None:
        self.said.append("app: eof")

    def abandon(self) -> None:
        self.said.append("app: abandoned")

    def pause_response(self) -> None:
        self.said.append("app: pause")

    def resume_response(self) -> None:
        self.said.append("app: resume")

    def ending(self, text: bytes) -> Ending:
        return Ending(text, is_whole=True)

    def forwarded(self) -> "Script":
        """Limited, forwarded and connected, with nothing said."""
        self.exchange.limit(LIMITS)
        self.exchange.forward(self, EDITS)
        self.connect()
        self.since()
        return self


def test_an_answer_ends_the_exchange_without_a_cancellation() -> None:
    script = Script()
    script.exchange.answer(Answer(404))
    assert script.since() == ["client: answer 404", "policy: ended answered 404", "client: released"]
    assert not script.exchange.is_held


def test_a_response_in_one_piece_ends_in_the_promised_order() -> None:
    script = Script().forwarded()
    script.exchange.response(OK, b"body", True)
    assert script.since() == ["client: 200 body True", "policy: ended complete 200", "client: released"]


def test_a_response_in_pieces_is_relayed_as_it_comes() -> None:
    script = Script().forwarded()
    script.exchange.informational(parse_response(b"HTTP/1.1 103 x"))
    script.exchange.response(OK, b"bo", False)
    script.exchange.response_data(b"dy", True)
    assert script.since()[:3] == ["client: interim 103", "client: 200 bo False", "client: data dy True"]
    assert script.exchange.outcome is Outcome.COMPLETE


def test_a_held_body_is_not_read_on_and_is_sent_when_there_is_a_connection() -> None:
    script = Script(POST, b"ab", request_done=False)
    script.exchange.request_data(b"cd", False)
    assert script.since() == []  # a connection that is not read does not tell that its client has left
    script.exchange.request_data(b"x" * 16384, False)
    assert script.since() == ["client: pause"]
    script.exchange.forward(script, EDITS)
    script.connect()
    assert script.since() == [f"app: abcd{'x' * 16384} False", "client: resume"]
    script.exchange.request_data(b"ef", True)
    assert script.since() == ["app: data ef True"]


def test_back_pressure_goes_both_ways_and_is_undone_both_ways() -> None:
    script = Script(POST, request_done=False).forwarded()
    script.exchange.upstream_is_full()
    script.exchange.upstream_is_full()
    script.exchange.upstream_has_room()
    script.exchange.downstream_is_full()
    script.exchange.downstream_has_room()
    assert script.since() == ["client: pause", "client: resume", "app: pause", "app: resume"]


def test_a_client_that_leaves_while_held_cancels_and_ends() -> None:
    script = Script()
    script.exchange.client_gone()
    assert script.since() == ["policy: cancelled", "policy: ended client-gone 0", "client: released"]


def test_a_client_that_leaves_later_abandons_the_upstream_and_nothing_follows() -> None:
    script = Script().forwarded()
    script.exchange.client_gone()
    assert script.since() == ["app: abandoned", "policy: ended client-gone 0", "client: released"]
    script.exchange.client_gone()
    assert script.exchange.check_timers(10_000.0) is None
    assert script.since() == []


def test_a_client_that_leaves_before_the_connection_is_made_leaves_nothing_to_carry() -> None:
    script = Script()
    script.exchange.forward(script, EDITS)
    script.exchange.client_gone()
    assert script.exchange.is_over
    assert script.since() == ["policy: ended client-gone 0", "client: released"]


def test_an_unreachable_target_is_a_502() -> None:
    script = Script()
    script.exchange.forward(script, EDITS)
    script.exchange.unreachable("refused")
    assert script.since() == ["client: answer 502", "policy: ended unreachable 502", "client: released"]


def test_a_stale_connection_is_replaced_a_bounded_number_of_times() -> None:
    script = Script().forwarded()
    for carried in range(2, 6):
        script.exchange.upstream_lost("EOF", is_stale=True)
        assert (script.carried, script.since()) == (carried, [])
        script.connect()
        script.since()
    script.exchange.upstream_lost("EOF", is_stale=True)
    assert script.carried == 5
    assert "client: answer 502" in script.since()


def test_before_a_502_for_what_was_not_sent_the_policy_may_take_it_back() -> None:
    script = Script(POST, request_done=False)
    reasons = []

    def keep(exchange: Exchange, reason: str) -> bool:
        reasons.append((reason, exchange.is_held, exchange.forwarded_s))
        return True

    script.exchange.unreached = keep
    for attempt in range(3):
        script.exchange.forward(script, EDITS)
        script.exchange.unreachable(f"refused {attempt}")
        assert script.since() == []
    assert reasons == [(f"refused {attempt}", True, 0.0) for attempt in range(3)]
    script.exchange.forward(script, EDITS)
    script.exchange.unreachable("refused")
    assert script.since() == ["client: answer 502", "policy: ended unreachable 502", "client: released"]


def test_what_was_taken_back_is_held_and_cancelled_as_such() -> None:
    script = Script()
    script.exchange.unreached = lambda exchange, reason: True
    script.exchange.forward(script, EDITS)
    script.exchange.unreachable("refused")
    script.exchange.client_gone()
    assert script.since() == ["policy: cancelled", "policy: ended client-gone 0", "client: released"]


def test_a_policy_that_declines_leaves_the_502() -> None:
    script = Script()
    script.exchange.unreached = lambda exchange, reason: False
    script.exchange.forward(script, EDITS)
    script.exchange.unreachable("refused")
    assert script.since() == ["client: answer 502", "policy: ended unreachable 502", "client: released"]


def test_what_may_have_arrived_is_not_taken_back() -> None:
    script = Script(POST)
    script.exchange.unreached = lambda exchange, reason: True
    script.forwarded()
    script.exchange.upstream_lost("EOF", is_stale=True)
    assert script.since()[0] == "client: answer 502"


@pytest.mark.parametrize(
    ("request_", "is_stale"),
    [(GET, False), (POST, True), (parse_request(b"POST / HTTP/1.1\r\nHost: h"), True)],
    ids=["fresh connection", "body", "method"],
)
def test_what_may_not_be_repeated_is_a_502(request_: RequestHead, is_stale: bool) -> None:
    script = Script(request_).forwarded()
    script.exchange.upstream_lost("EOF", is_stale=is_stale)
    assert script.carried == 1
    assert script.since()[0] == "client: answer 502"


def test_an_upstream_lost_within_the_response_aborts_it() -> None:
    script = Script().forwarded()
    script.exchange.response(OK, b"bo", False)
    script.since()
    script.exchange.upstream_lost("EOF", is_stale=False)
    assert script.since() == ["client: aborted", "policy: ended aborted 200", "client: released"]


@pytest.mark.parametrize("responding", [False, True])
def test_a_client_that_breaks_its_framing_is_answered_or_cut_off(responding: bool) -> None:
    script = Script(POST, request_done=False).forwarded()
    if responding:
        script.exchange.response(OK, b"bo", False)
        script.since()
    script.exchange.client_broke_framing(Answer(400))
    assert script.since()[:2] == ["client: aborted" if responding else "client: answer 400", "app: abandoned"]


def test_waiting_uses_up_max_duration_only() -> None:
    script = Script()
    script.exchange.limit(LIMITS)
    script.exchange.wait()
    assert script.wake_s == 110.0
    assert script.exchange.check_timers(109.0) == 110.0
    assert script.exchange.check_timers(110.0) is None
    assert script.since() == [
        "client: answer 504",
        "policy: cancelled",
        "policy: ended timed-out 504",
        "client: released",
    ]
    assert script.exchange.timer is Timer.MAX_DURATION


def test_response_start_runs_from_the_hand_over_and_a_write_satisfies_it() -> None:
    script = Script()
    script.exchange.limit(LIMITS)
    script.now_s = 105.0
    script.exchange.forward(script, EDITS)
    assert script.wake_s == 107.0
    script.connect()
    script.now_s = 106.0
    script.exchange.response(OK, b"", False)
    assert script.exchange.check_timers(107.0) == 109.0
    script.since()
    assert script.exchange.check_timers(109.0) is None
    assert script.since()[:2] == ["client: cut short request timeout", "app: abandoned"]
    assert script.exchange.timer is Timer.IDLE


def test_a_tunnel_ends_when_both_ends_have() -> None:
    script = Script(parse_request(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x")).forwarded()
    script.exchange.upgraded(parse_response(b"HTTP/1.1 101 x\r\nUpgrade: x"), b"hi")
    assert script.exchange.is_tunnel
    script.exchange.tunnel_request_data(b"up")
    script.exchange.tunnel_response_data(b"down")
    assert script.exchange.client_eof()
    assert script.since() == ["client: tunnel hi", "app: data up False", "client: tunnelled down", "app: eof"]
    script.exchange.tunnel_response_eof()
    assert script.since() == ["client: eof", "app: abandoned", "policy: ended complete 101", "client: released"]


def test_either_end_of_a_tunnel_that_is_lost_ends_it() -> None:
    for lose in ("client", "app"):
        script = Script().forwarded()
        script.exchange.upgraded(parse_response(b"HTTP/1.1 101 x\r\nUpgrade: x"), b"")
        if lose == "client":
            script.exchange.client_gone()
        else:
            script.exchange.upstream_lost("EOF", is_stale=False)
        assert script.exchange.outcome is Outcome.COMPLETE


def test_a_client_that_half_closes_outside_a_tunnel_is_not_waited_for() -> None:
    assert not Script().forwarded().exchange.client_eof()


def test_a_body_that_is_whole_is_held_without_a_pause() -> None:
    script = Script(POST, request_done=False)
    script.exchange.request_data(b"x" * 100_000, True)
    assert script.since() == []


def test_a_connection_attempt_that_outlives_its_exchange_says_nothing() -> None:
    script = Script()
    script.exchange.forward(script, EDITS)
    script.exchange.client_gone()
    script.since()
    script.exchange.unreachable("connection refused")
    assert script.since() == []


def test_the_replay_goes_over_a_fresh_connection() -> None:
    script = Script().forwarded()
    script.exchange.upstream_lost("EOF", is_stale=True)
    assert (script.carried, script.carried_fresh) == (2, 1)
