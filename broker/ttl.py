"""How many more times an event, and the replies to it, may pass an ingress; and when it last did.

Source: knative/eventing `pkg/broker/ttl.go`; spec eventing-broker.md 5.3, 5.4; conformance statements 32 to 37.
"""

import time
from collections.abc import Mapping
from typing import Final

from eventing.values import INT_MAX, INT_MIN, Value
from proxies.environment import Environment
from proxies.gotext import parse_float

__all__ = ["ARRIVAL_TIME", "TTL", "ArrivalTimes", "next_ttl", "ttl_max_of", "ttl_of"]

TTL: Final = "knativebrokerttl"
ARRIVAL_TIME: Final = "knativearrivaltime"

_DIGITS_MAX: Final = 9
_TTL_MAX: Final = 255


def ttl_max_of(environ: Mapping[str, str]) -> int:
    """Read `MAX_TTL`, what is left for an event that says nothing of it: 1 or more. Raises `ConfigError`."""
    reading = Environment(environ)
    ttl_max = reading.integer("MAX_TTL", _TTL_MAX)
    if ttl_max <= 0 and not reading.problems:
        reading.refuse(f"MAX_TTL={ttl_max}: expected 1 or more")
    reading.finish()
    return ttl_max


def ttl_of(value: Value | None) -> int | None:
    """Return the number that the extension holds, cut to an integer; None when it holds none of 32 bits."""
    if isinstance(value, str):
        if value.isdecimal() and value.isascii() and len(value) <= _DIGITS_MAX:
            return int(value)
        try:
            number = parse_float(value)
        except ValueError:
            return None
        # Written so that NaN is none, too.
        return int(number) if INT_MIN <= number <= INT_MAX else None
    return None if value is None or isinstance(value, bool) else value


def next_ttl(value: Value | None, ttl_max: int) -> int:
    """Return what is left behind an ingress; 0: the event goes no further."""
    ttl = ttl_of(value)
    return ttl_max if ttl is None else max(ttl - 1, 0)


class ArrivalTimes:
    """Times in UTC with nanoseconds, as Go writes them: no zeros at the end. The seconds' text is kept."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def at(self, unix_ns: int) -> str:
        """Return the text of a time in nanoseconds of Unix time."""
        second, nanoseconds = divmod(unix_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        if not nanoseconds:
            return f"{self._text}Z"
        return f"{self._text}.{nanoseconds:09d}".rstrip("0") + "Z"
