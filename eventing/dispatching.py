"""Deliveries at work: the flow of each on a sender and a clock, by callbacks.

One `Delivery` per event and subscription: an object with a few slots, which is its own timer. No task, no closure.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

from eventing.delivery import Flow, Leg, Outcome, Parcel, Recipient, Subscription
from proxies.timers import Timer, Timers

__all__ = ["Courier", "Delivery", "Sends", "Sent"]


class Sent(Protocol):
    """A post under way: `proxies.calls.Call`."""

    def cancel(self) -> None:
        """Nobody wants it any more; `done` is not called."""


class Sends(Protocol):
    """What posts: `eventing.sending.Sender` behind whatever knows of tokens."""

    def post(
        self,
        recipient: Recipient,
        lines: bytes,
        body: bytes,
        done: Callable[[Outcome], None],
        *,
        timeout_s: float,
        service_account: tuple[str, str],
        response_bytes_max: int,
    ) -> Sent:
        """Send an event; `done` is told once what came of it, never from within this call.

        `service_account`: namespace and name, in whose name a token is had where the recipient has an audience. Raises
        `ValueError` where the post cannot be made; nothing is sent then.
        """


class Courier:
    """What deliveries of one process share."""

    __slots__ = ("attempted", "call_soon", "now_s", "sends", "timers", "unix_s")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sends: Sends,
        timers: Timers,
        *,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self.sends = sends
        self.timers = timers
        self.call_soon = loop.call_soon
        self.now_s = loop.time
        self.unix_s = unix_s
        self.attempted: Callable[[Delivery, Leg, Outcome, float | None], None] | None = None
        """Told of each attempt on which leg and with what outcome, and of the wait before the next one; None: the
        delivery is over, of which its `done` is told next."""


class Delivery(Timer):
    """One event on its way to one subscription. `done(delivery)` is called once, unless it is cancelled."""

    __slots__ = ("_courier", "_done", "_sent", "flow", "leg_begun_s", "parcel", "tag")

    def __init__(
        self,
        courier: Courier,
        flow: Flow,
        parcel: Parcel,
        done: "Callable[[Delivery], None]",
        tag: object = None,
    ) -> None:
        """`tag`: the caller's own."""
        super().__init__()
        self._courier = courier
        self._done: Callable[[Delivery], None] | None = done
        self._sent: Sent | None = None
        self.flow = flow
        self.parcel = parcel
        self.tag = tag
        self.leg_begun_s = 0.0
        """Loop time at which the leg that runs, or ran last, was begun: its retries and waits count."""

    @property
    def subscription(self) -> Subscription:
        """Whose delivery it is."""
        return self.flow.subscription

    @property
    def is_over(self) -> bool:
        """It ended or was cancelled."""
        return self._done is None

    @property
    def is_posting(self) -> bool:
        """An attempt is under way, as opposed to waiting for the next one."""
        return self._sent is not None

    @property
    def leg_s(self) -> float:
        """How long the last leg took, in seconds; to be asked when it is over."""
        return self._courier.now_s() - self.leg_begun_s

    def start(self) -> None:
        """Make the first attempt."""
        self.leg_begun_s = self._courier.now_s()
        self._send()

    def start_after(self, wait_s: float) -> None:
        """Make the first attempt then: this delivery was begun by a process that is gone."""
        self.leg_begun_s = self._courier.now_s()
        self._courier.timers.arm(self, self.leg_begun_s + wait_s)

    def cancel(self) -> None:
        """End it, whatever it is doing."""
        self._done = None
        self._courier.timers.disarm(self)
        if self._sent is not None:
            self._sent.cancel()
            self._sent = None

    def on_timer(self, now_s: float) -> None:
        self._send()

    def _send(self) -> None:
        if self._done is None:
            return
        flow = self.flow
        subscription = flow.subscription
        timeout_s = subscription.settings.timeout_s
        try:
            self._sent = self._courier.sends.post(
                flow.recipient,
                flow.lines,
                flow.body,
                self._answered,
                timeout_s=math.inf if timeout_s is None else timeout_s,
                service_account=(self.parcel.namespace, subscription.service_account),
                response_bytes_max=flow.response_bytes_max,
            )
        except ValueError as error:
            # Not from here: whoever starts the next delivery when one has ended would start them all within each other.
            self._courier.call_soon(self._refused, str(error))

    def _refused(self, reason: str) -> None:
        if self._done is not None:
            leg = self.flow.leg
            self._go_on(leg, self.flow.refused(reason))

    def _answered(self, outcome: Outcome) -> None:
        if self._done is None:
            return
        self._sent = None
        courier = self._courier
        leg = self.flow.leg
        wait_s = self.flow.answered(outcome, courier.unix_s())
        if courier.attempted is not None:
            courier.attempted(self, leg, outcome, wait_s)
        self._go_on(leg, wait_s)

    def _go_on(self, leg: Leg, wait_s: float | None) -> None:
        if wait_s is None:
            done, self._done = self._done, None
            assert done is not None
            done(self)
            return
        courier = self._courier
        if self.flow.leg is not leg:
            self.leg_begun_s = courier.now_s()
        if wait_s:
            courier.timers.arm(self, courier.now_s() + wait_s)
        else:
            # Not from here: a peer that refuses at once, and many retries without a wait, would nest.
            courier.call_soon(self._send)
