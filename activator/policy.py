"""What the activator does with a request, top to bottom: probe? -> revision -> count -> hold or forward -> count.

    admit   head -> plan (kept with the head)
              Answer, KubeletProbe                     answered here
              RevisionKey -> unknown                   404
              RevisionKey -> asleep, and not to wake   503
              RevisionKey -> ActiveRevision            counted in; the first one is reported at once
                 throttler: a target                   forwarded
                            waits                      held, its body unread beyond the first bytes
                            refused                    503, also later, when what waits holds too many bytes
    unreached (`ActiveRevision`)                       another target, or held again
    ended   counted out; the place goes to the request that waits longest, which is forwarded

Source: spec activator.md 5 to 8.
"""

from collections.abc import Callable, Sequence

from activator.active_revision import ASLEEP, QUEUE_FULL, ActiveRevision
from activator.classification import Classifier, KubeletProbe, not_found
from activator.load_balancing import Target
from activator.loads import Loads, RevisionKey
from activator.throttler import Verdict
from proxies.exchange import Exchange, Outcome
from proxies.messages import Answer

__all__ = ["ActivatorPolicy"]


class ActivatorPolicy:
    """One for all connections. An exchange's context is its revision from the moment when it was counted in."""

    def __init__(
        self,
        revisions: dict[RevisionKey, ActiveRevision],
        loads: Loads,
        *,
        cluster_domain: str,
        report_first: Callable[[ActiveRevision], None],
        health: Callable[[], Answer],
        observers: Sequence[Callable[[Exchange, ActiveRevision | None, float], None]] = (),
    ) -> None:
        """`report_first`: tell the autoscaler of a first request; `health`: the answer to the kubelet.

        `observers`: those in it at that moment are told of each exchange that has ended and was no probe, of its
        revision if that is known and not asleep, and when.
        """
        self._revisions = revisions
        self._loads = loads
        self._classifier = Classifier(cluster_domain)
        self._report_first = report_first
        self._health = health
        self._observers = observers

    def admit(self, exchange: Exchange) -> None:
        """A request is here."""
        head = exchange.request
        plan = head.derived.plan
        if plan is None:
            plan = head.derived.plan = self._classifier.classify(head)
        if not isinstance(plan, RevisionKey):
            exchange.answer(self._health() if isinstance(plan, KubeletProbe) else _as_answer(plan))
            return
        revision = self._revisions.get(plan)
        if revision is None:
            exchange.answer(not_found(plan))
            return
        if revision.no_wake is not None and revision.sleeps_through(head.target):
            exchange.answer(ASLEEP)
            return
        exchange.context = revision
        exchange.limit(revision.limits)
        if self._loads.request_in(revision.key, exchange.arrived_s):
            self._report_first(revision)
        place = revision.throttler.admit(exchange)
        if isinstance(place, Target):
            revision.forward(exchange, place)
        elif place is Verdict.WAITS:
            revision.hold(exchange)
        else:
            exchange.answer(QUEUE_FULL)

    def cancelled(self, exchange: Exchange) -> None:
        """A held request's client left, or its time is up. `ended` follows and takes it out of the throttler."""

    def ended(self, exchange: Exchange) -> None:
        """A request is over, however it ended."""
        revision = exchange.context
        now_s = exchange.clock()
        if not isinstance(revision, ActiveRevision):
            if self._observers and isinstance(exchange.request.derived.plan, RevisionKey):
                for observe in self._observers:
                    observe(exchange, None, now_s)
            return
        self._loads.request_out(revision.key, now_s)
        if revision.keepalive is not None:
            revision.keepalive.forget(exchange)
        for observe in self._observers:
            observe(exchange, revision, now_s)
        outcome = exchange.outcome
        if outcome is not Outcome.COMPLETE:
            if outcome is Outcome.ANSWERED:
                # Refused: it is not inside the throttler.
                return
            if outcome is Outcome.UNREACHABLE:
                revision.failed(exchange)
        passed = revision.throttler.leave(exchange)
        if passed is not None:
            revision.forward(passed.request, passed.target)


def _as_answer(plan: object) -> Answer:
    assert isinstance(plan, Answer), plan
    return plan
