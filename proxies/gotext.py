"""Numbers, booleans and durations as Go writes and reads them in text.

Environment variables, annotations and ConfigMaps of Knative are parsed by Go's `strconv` and `time`; what those accept
and refuse is part of the contract (spec queue-proxy.md 2.1, autoscaler.md 9.1). Every function raises `ValueError` with
a text that says what was expected.
"""

import re

__all__ = ["format_duration", "parse_bool", "parse_duration_s", "parse_float", "parse_int"]

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
# Compiled when they are used first, and kept by `re`: a sidecar that starts needs two of them at most.
_INT = r"[+-]?[0-9]+\Z"
_INT_PREFIXED = r"[+-]?(0[xX](_?[0-9a-fA-F])+|0[bB](_?[01])+|0[oO]?(_?[0-7])+|0|[1-9](_?[0-9])*)\Z"
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_HEX_DIGITS = r"[0-9a-f]+(?:_[0-9a-f]+)*"
_FLOAT = (
    rf"[+-]?(inf|infinity|nan|0x_?({_HEX_DIGITS}\.?({_HEX_DIGITS})?|\.{_HEX_DIGITS})p[+-]?{_DIGITS}"
    rf"|({_DIGITS}\.?({_DIGITS})?|\.{_DIGITS})(e[+-]?{_DIGITS})?)\Z"
)
_DURATION = r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_UNIT_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_INT64 = 1 << 63


def parse_bool(text: str) -> bool:
    """`strconv.ParseBool`."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"expected true or false, got {text!r}")


def parse_int(text: str, *, bits: int = 64, prefixes: bool = False) -> int:
    """`strconv.ParseInt` in base 10, or in base 0 (`0x10`, `0b1`, `017`) with `prefixes`; within `bits` bits."""
    if not re.match(_INT_PREFIXED if prefixes else _INT, text, re.ASCII):
        raise ValueError(f"expected an integer, got {text!r}")
    if prefixes:
        digits = text.lstrip("+-").replace("_", "")
        if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
            digits = "0o" + digits[1:]
        value = int(digits, 0) * (-1 if text.startswith("-") else 1)
    else:
        value = int(text)
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f"expected an integer of {bits} bits, got {text!r}")
    return value


def parse_float(text: str) -> float:
    """`strconv.ParseFloat`: decimal or hexadecimal, `Inf`, `NaN` and underscores between digits included."""
    if not re.match(_FLOAT, text, re.ASCII | re.IGNORECASE):
        raise ValueError(f"expected a number, got {text!r}")
    if "x" in text.lower():
        return float.fromhex(text.replace("_", ""))
    value = float(text)
    if value in (float("inf"), float("-inf")) and "inf" not in text.lower():
        raise ValueError(f"expected a number that fits a double, got {text!r}")
    return value


def parse_duration_s(text: str) -> float:
    """`time.ParseDuration`, in seconds: `1m30s`, `1.5h`, `-2ms`, `0`. Any other number without a unit is refused."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total_ns = 0
    position = 0
    while position < len(rest):
        match = re.compile(_DURATION, re.ASCII).match(rest, position)
        if match is None:
            break
        whole, _, fraction = match[1].partition(".")
        unit_ns = _UNIT_NS[match[2]]
        total_ns += int(whole or "0") * unit_ns
        if fraction:
            total_ns += int(fraction) * unit_ns // 10 ** len(fraction)
        position = match.end()
    if not rest or position != len(rest) or total_ns >= _INT64:
        raise ValueError(f"expected a duration such as 300ms or 1m30s, got {text!r}")
    return (-total_ns if text.startswith("-") else total_ns) / 1e9


def format_duration(seconds: float) -> str:
    """`time.Duration.String`: `1h0m0s`, `1.5s`, `300ms`, `0s`."""
    total_ns = round(seconds * 1e9)
    if total_ns == 0:
        return "0s"
    sign, total_ns = ("-", -total_ns) if total_ns < 0 else ("", total_ns)
    if total_ns < 10**9:
        unit, size = next((u, s) for u, s in (("ms", 10**6), ("µs", 10**3), ("ns", 1)) if total_ns >= s)
        return f"{sign}{_decimal(total_ns, size)}{unit}"
    hours, rest = divmod(total_ns, 3600 * 10**9)
    minutes, rest = divmod(rest, 60 * 10**9)
    text = f"{_decimal(rest, 10**9)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(unit)) - 1).rstrip('0')}"
