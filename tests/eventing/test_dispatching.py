"""Deliveries at work: `eventing/dispatching.py`."""

from eventing.delivery import Flow, Leg, Outcome, Recipient, Subscription
from eventing.dispatching import Delivery
from eventing.retries import DeliverySettings
from tests.eventing.courier import PARCEL, Answer, Clock, Sends, courier, turn

_LINEAR = DeliverySettings(retries=3, backoff_policy="linear", backoff_s=1, timeout_s=7)
_TO = Recipient("http://a/", audience="them")


def _delivery(
    subscription: Subscription, notes: list[tuple[Leg, int, float | None]] | None = None
) -> tuple[Delivery, list[Delivery], Sends, Clock]:
    made, sends, clock = courier()

    def attempted(delivery: Delivery, leg: Leg, outcome: Outcome, wait_s: float | None) -> None:
        assert notes is not None
        notes.append((leg, outcome.status, wait_s))

    if notes is not None:
        made.attempted = attempted
    done: list[Delivery] = []
    return Delivery(made, Flow(subscription, PARCEL), PARCEL, done.append, "tag"), done, sends, clock


async def test_retries_wait_as_long_as_the_settings_say() -> None:
    notes: list[tuple[Leg, int, float | None]] = []
    subscription = Subscription(uid="u", destination=_TO, settings=_LINEAR, service_account="me")
    delivery, done, sends, clock = _delivery(subscription, notes)
    delivery.start()
    assert (sends.posts[0].timeout_s, sends.posts[0].service_account) == (7, ("ns", "me"))
    sends.answer(503)
    assert not sends.posts, "not from within the answer"
    await turn()
    sends.answer(503)
    clock.go(0.9)
    assert not sends.posts
    clock.go(0.2)
    sends.answer(200)
    assert done == [delivery]
    assert delivery.tag == "tag"
    assert delivery.flow.is_success
    assert notes == [(Leg.DESTINATION, 503, 0), (Leg.DESTINATION, 503, 1), (Leg.DESTINATION, 200, None)]
    assert delivery.leg_s == 1.1 or abs(delivery.leg_s - 1.1) < 1e-9


async def test_cancelled_under_way_it_cuts_the_post_off() -> None:
    delivery, done, sends, _ = _delivery(Subscription(uid="u", destination=_TO, settings=_LINEAR))
    delivery.start()
    delivery.cancel()
    assert sends.posts[0].is_cancelled
    sends.answer(503)
    await turn()
    assert not sends.posts
    assert not done


async def test_cancelled_between_two_attempts_nothing_more_is_sent() -> None:
    for wait_s in (0.0, 1.0):
        settings = DeliverySettings(retries=3, backoff_policy="exponential", backoff_s=wait_s)
        delivery, done, sends, clock = _delivery(Subscription(uid="u", destination=_TO, settings=settings))
        delivery.start()
        sends.answer(503)
        delivery.cancel()
        await turn()
        clock.go(10)
        assert not sends.posts
        assert not done


async def test_what_cannot_be_posted_is_a_dead_letter_without_retries() -> None:
    subscription = Subscription(
        uid="u", destination=Recipient("wrong"), dead_letter=Recipient("http://sink/"), settings=_LINEAR
    )
    delivery, done, sends, _ = _delivery(subscription)
    delivery.start()
    assert not done, "not from within the start"
    await turn()
    await turn()
    assert sends.posts[0].recipient.url == "http://sink/"
    assert b"Ce-Knativeerrorcode: -1\r\n" in sends.posts[0].lines
    sends.answer(202)
    assert done
    assert delivery.flow.is_success


async def test_what_was_begun_elsewhere_is_begun_later() -> None:
    delivery, _, sends, clock = _delivery(Subscription(uid="u", destination=_TO))
    delivery.start_after(5)
    clock.go(4.9)
    assert not sends.posts
    assert not delivery.is_posting
    clock.go(0.2)
    assert len(sends.posts) == 1
    assert delivery.is_posting


async def test_an_answer_after_the_end_is_ignored() -> None:
    delivery, done, sends, _ = _delivery(Subscription(uid="u", destination=_TO))
    delivery.start()
    post = sends.posts[0]
    sends.answer(200)
    post.done(Answer(200))
    assert len(done) == 1
