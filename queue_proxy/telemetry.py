"""Several listeners to the policy as one: metrics, traces and the request log, whichever are on."""

from proxies.exchange import Exchange
from queue_proxy.policy import Telemetry

__all__ = ["combined"]


def combined(*others: Telemetry, tracer: Telemetry | None = None) -> Telemetry | None:
    """Return what tells all of them; None when there is none. `tracer` is the one whose `edits` count."""
    listeners = others if tracer is None else (tracer, *others)
    if len(listeners) < 2:
        return listeners[0] if listeners else None
    return _Combined(listeners)


class _Combined:
    """Tells each in turn; the first one edits."""

    __slots__ = ("_listeners", "edits")

    def __init__(self, listeners: tuple[Telemetry, ...]) -> None:
        self._listeners = listeners
        self.edits = listeners[0].edits

    def ended(self, exchange: Exchange, now_s: float) -> None:
        """A counted exchange is over."""
        for listener in self._listeners:
            listener.ended(exchange, now_s)

    def probe_ended(self, exchange: Exchange, now_s: float) -> None:
        """A probe is over, or a kubelet's request to the app."""
        for listener in self._listeners:
            listener.probe_ended(exchange, now_s)
