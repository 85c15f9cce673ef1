"""RFC 3339 times as the Kubernetes API writes them, and as seconds for arithmetic."""

import calendar
import re
import time

__all__ = ["format_micro_time", "format_time", "parse_time_s"]

_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))\Z", re.ASCII)


def format_time(unix_s: float) -> str:
    """`metav1.Time`: UTC, whole seconds, `2026-11-21T04:05:06Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def format_micro_time(unix_s: float) -> str:
    """`metav1.MicroTime`: UTC with six decimals, as leases use it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s)) + f".{int(unix_s % 1 * 1_000_000):06d}Z"


def parse_time_s(text: str) -> float:
    """Unix seconds of an RFC 3339 time; `ValueError` for anything else."""
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(f"expected an RFC 3339 time such as 2026-11-21T04:05:06Z, got {text!r}")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    unix_s = float(calendar.timegm((year, month, day, hour, minute, second)))
    if match[7]:
        unix_s += float(match[7])
    if match[8]:
        offset_s = int(match[9]) * 3600 + int(match[10]) * 60
        unix_s += -offset_s if match[8] == "+" else offset_s
    return unix_s
