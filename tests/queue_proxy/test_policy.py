"""`queue_proxy/policy.py`: places in the breaker and counts, however an exchange ends. Heads are in `golden`."""

from proxies.breaker import Breaker
from proxies.drain import Drain
from proxies.exchange import Exchange, Outcome
from proxies.http1 import parse_request
from proxies.messages import Answer
from proxies.request_stats import RequestStats
from proxies.timeouts import TimeoutLimits, Timer
from queue_proxy.policy import QueuePolicy
from queue_proxy.readiness import Readiness

GET = b"GET / HTTP/1.1\r\nHost: h"
PROBE = GET + b"\r\nUser-Agent: kube-probe/1\r\nK-Network-Probe: queue"


class FakeReadiness(Readiness):
    """A run that ends when the test says so."""

    def __init__(self) -> None:
        self.runs = 0
        self.finish = lambda is_ready: None

    @property
    def has_probes(self) -> bool:
        return True

    @property
    def is_running(self) -> bool:
        return self.runs > 0

    def run(self, done: object) -> None:
        self.runs += 1
        self.finish = done  # type: ignore[assignment]


class Pod:
    """The policy between clients and an app that are only recorded."""

    def __init__(self, concurrency: int) -> None:
        self.stats = RequestStats(0.0)
        self.readiness = FakeReadiness()
        self.reached: list[Exchange] = []
        self.answered: list[Answer] = []
        self.timed_out_by: list[Timer] = []
        self.breaker = Breaker[Exchange](queue_depth=10 * concurrency, concurrency=concurrency)
        self.policy = QueuePolicy(
            target=self,
            limits=TimeoutLimits(max_duration_s=60),
            breaker=self.breaker,
            stats=self.stats,
            drain=Drain(),
            readiness=self.readiness,
            timed_out=self.timed_out,
        )

    def timed_out(self, exchange: Exchange, timer: Timer) -> None:
        self.timed_out_by.append(timer)

    def request(self, head: bytes = GET) -> Exchange:
        exchange = Exchange(
            self,  # type: ignore[arg-type]
            self.policy,
            parse_request(head),
            peer=b"1.1.1.1",
            clock=lambda: 1.0,
            data=b"",
            body=None,
            request_done=True,
        )
        self.policy.admit(exchange)
        return exchange

    # Target and downstream half.
    def carry(self, exchange: Exchange, *, fresh: bool = False) -> None:
        self.reached.append(exchange)

    def give_answer(self, answer: Answer) -> None:
        self.answered.append(answer)

    def wake_at(self, due_s: float) -> None: ...
    def release(self, exchange: Exchange) -> None: ...


def test_a_refused_request_gives_back_nothing_that_it_never_had() -> None:
    pod = Pod(1)
    admitted = [pod.request() for _ in range(11)]
    refused = pod.request()
    assert (refused.outcome, refused.status) == (Outcome.ANSWERED, 503)
    assert (pod.reached, pod.breaker.in_flight) == (admitted[:1], 11)
    assert pod.stats.concurrency == 11


def test_a_waiter_that_leaves_gives_up_its_place_and_not_a_running_one() -> None:
    pod = Pod(1)
    exchanges = [pod.request() for _ in range(3)]
    exchanges[1].client_gone()
    assert (pod.reached, pod.breaker.in_flight, pod.stats.concurrency) == (exchanges[:1], 2, 2)
    exchanges[0].unreachable("down")
    assert pod.reached == [exchanges[0], exchanges[2]]


def test_a_place_goes_to_the_longest_waiter_whatever_ended_the_one_before() -> None:
    pod = Pod(1)
    exchanges = [pod.request() for _ in range(4)]
    exchanges[0].client_gone()
    exchanges[1].unreachable("down")
    exchanges[2].check_timers(1000.0)
    assert pod.reached == exchanges
    exchanges[3].client_gone()
    assert (pod.breaker.in_flight, pod.stats.concurrency) == (0, 0)


def test_probes_join_the_run_that_is_under_way_and_one_may_leave() -> None:
    pod = Pod(1)
    probes = [pod.request(PROBE) for _ in range(3)]
    assert pod.readiness.runs == 1
    probes[1].client_gone()
    pod.readiness.finish(True)
    assert [answer.status for answer in pod.answered] == [200, 200]
    assert pod.stats.concurrency == 0


def test_a_probe_of_an_app_that_is_not_ready_is_a_bare_503() -> None:
    pod = Pod(1)
    pod.request(PROBE)
    pod.readiness.finish(False)
    assert [(answer.status, answer.body) for answer in pod.answered] == [(503, b"")]


def test_a_plan_of_another_service_on_a_shared_head_is_not_taken_for_ours() -> None:
    pod = Pod(1)
    exchange = Exchange(
        pod,  # type: ignore[arg-type]
        pod.policy,
        parse_request(GET),
        peer=b"",
        clock=lambda: 1.0,
        data=b"",
        body=None,
        request_done=True,
    )
    exchange.request.derived.plan = "someone else's"
    pod.policy.admit(exchange)
    assert pod.reached == [exchange]
