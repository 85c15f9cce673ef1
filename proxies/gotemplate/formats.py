"""`printf` as Go formats: verbs, flags, width and precision, and the marks for arguments that do not fit.

    %v %s %q %d %b %o %O %x %X %c %U %t %e %E %f %F %g %G %%   with   + - # space 0   and   8   .3   8.3

A verb that does not suit its value prints Go's mark for it, such as `%!d(string=hi)`. Arguments by number (`%[1]d`) and
widths from arguments (`%*d`) are not supported.

Source: Go `fmt`.
"""

import re
from collections.abc import Sequence
from typing import Final

from proxies.gotemplate.values import Map, Record, RenderError, float_text, kind, text_of

__all__ = ["formatted", "quoted"]

_WIDTH_MAX: Final = 1000
"""No line needs more."""
_DIRECTIVE: Final = re.compile(r"%([+\-# 0]*)(\d*)(?:\.(\d*))?(.?)", re.DOTALL)
_PREFIXES: Final = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}
_ESCAPES: Final = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v",
    "\\": r"\\",
}  # fmt: skip


def formatted(pattern: str, values: Sequence[object]) -> str:
    """Return `fmt.Sprintf(pattern, values...)`. Raises `RenderError` for what is not supported."""
    used = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal used
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not verb:
            return "%!(NOVERB)"
        if verb in "[*":
            raise RenderError(f"printf: {match[0]} is not supported")
        if verb == "v" and "#" in flags:
            raise RenderError("printf: %#v is not supported")
        directive = _Directive(flags, width, precision, verb)
        if used >= len(values):
            return f"%!{verb}(MISSING)"
        used += 1
        return directive.apply(values[used - 1])

    text = _DIRECTIVE.sub(replace, pattern)
    if used < len(values):
        extra = ", ".join(
            f"{kind(value)}={text_of(value)}" if value is not None else "<nil>" for value in values[used:]
        )
        text += f"%!(EXTRA {extra})"
    return text


def quoted(text: str, *, is_ascii: bool = False) -> str:
    """Return a string in Go's double quotes; `is_ascii`: with escapes for everything else."""
    pieces = ['"']
    for character in text:
        if character == '"':
            pieces.append('\\"')
        elif character in _ESCAPES:
            pieces.append(_ESCAPES[character])
        elif character.isprintable() and (character.isascii() or not is_ascii):
            pieces.append(character)
        elif "\udc80" <= character <= "\udcff":
            pieces.append(f"\\x{ord(character) - 0xDC00:02x}")
        elif character < " " or character == "\x7f":
            pieces.append(f"\\x{ord(character):02x}")
        elif character <= "\uffff":
            pieces.append(f"\\u{ord(character):04x}")
        else:
            pieces.append(f"\\U{ord(character):08x}")
    return "".join((*pieces, '"'))


class _Directive:
    """One verb with its flags."""

    def __init__(self, flags: str, width: str, precision: str | None, verb: str) -> None:
        self.minus = "-" in flags
        self.plus = "+" in flags and verb != "v"
        self.sharp = "#" in flags
        self.space = " " in flags
        self.zero = "0" in flags and not self.minus
        self.width = _bounded(width)
        self.precision = None if precision is None else _bounded(precision)
        self.verb = verb

    def apply(self, value: object) -> str:
        """Return `value` formatted."""
        if isinstance(value, list):
            if self.verb in "xX":
                return self._bad(value)
            return f"[{' '.join(map(self.apply, value))}]"
        if isinstance(value, Map):
            return f"map[{' '.join(f'{self.apply(key)}:{self.apply(value[key])}' for key in sorted(value))}]"
        if isinstance(value, Record):
            value = value.go_string()
        if isinstance(value, bool):
            return self._padded(text_of(value)) if self.verb in "tv" else self._bad(value)
        if isinstance(value, int):
            return self._integer(value)
        if isinstance(value, float):
            return self._float(value)
        if isinstance(value, str):
            return self._string(value)
        return self._padded("<nil>") if self.verb == "v" else f"%!{self.verb}(<nil>)"

    def _string(self, value: str) -> str:
        if self.verb in "vs":
            return self._padded(value if self.precision is None else value[: self.precision])
        if self.verb == "q":
            value = value if self.precision is None else value[: self.precision]
            raw = self.sharp and "`" not in value and (value.isprintable() or value.replace("\t", "").isprintable())
            return self._padded(f"`{value}`" if raw else quoted(value, is_ascii=self.plus))
        if self.verb in "xX":
            data = value.encode("utf-8", "surrogateescape")
            data = data if self.precision is None else data[: self.precision]
            prefix = f"0{self.verb}" if self.sharp and data else ""
            text = f" {prefix}".join(f"{byte:02x}" for byte in data) if self.space else data.hex()
            return self._padded(prefix + (text.upper() if self.verb == "X" else text))
        return self._bad(value)

    def _integer(self, value: int) -> str:
        verb = self.verb
        if verb in "vd":
            digits, prefix = str(abs(value)), ""
        elif verb in "boxX":
            digits, prefix = format(abs(value), verb), _PREFIXES[verb] if self.sharp else ""
        elif verb == "O":
            digits, prefix = format(abs(value), "o"), "0o"
        elif verb in "cqU":
            return self._character(value)
        else:
            return self._bad(value)
        sign = "-" if value < 0 else "+" if self.plus else " " if self.space else ""
        if self.precision is not None:
            if not self.precision and not value:
                return " " * self.width
            digits = digits.rjust(self.precision, "0")
        elif self.zero:
            digits = digits.rjust(self.width - len(sign), "0")
        if prefix == "0" and digits.startswith("0"):
            prefix = ""
        return self._padded(sign + prefix + digits, zero=False)

    def _character(self, value: int) -> str:
        is_known = 0 <= value <= 0x10FFFF and not 0xD800 <= value <= 0xDFFF
        character = chr(value) if is_known else "\ufffd"
        if self.verb == "c":
            return self._padded(character)
        if self.verb == "q":
            text = quoted(character, is_ascii=self.plus)[1:-1].replace('\\"', '"').replace("'", "\\'")
            return self._padded(f"'{text}'")
        text = f"U+{value % (1 << 64):04X}"
        if self.sharp and is_known and character.isprintable():
            text += f" '{character}'"
        return self._padded(text, zero=False)

    def _float(self, value: float) -> str:
        verb = "g" if self.verb == "v" else "f" if self.verb == "F" else self.verb
        if verb in "bxX" or self.sharp:
            raise RenderError(f"printf: %{'#' if self.sharp else ''}{self.verb} of a float is not supported")
        if verb not in "eEfgG":
            return self._bad(value)
        is_finite = value - value == 0
        if not is_finite:
            text = float_text(value).lstrip("+")
        elif self.precision is None and verb in "gG":
            text = float_text(value)
            text = text.upper() if verb == "G" else text
        else:
            text = format(value, f".{6 if self.precision is None else self.precision}{verb}")
        if text[0] != "-" and (self.plus or self.space):
            text = ("+" if self.plus else " ") + text
        elif text == "Inf" and not self.plus:
            text = "+Inf"
        if self.zero and is_finite and len(text) < self.width:
            sign = text[0] if text[0] in "+- " else ""
            return sign + text[len(sign) :].rjust(self.width - len(sign), "0")
        return self._padded(text, zero=False)

    def _padded(self, text: str, *, zero: bool = True) -> str:
        if self.minus:
            return text.ljust(self.width)
        return text.rjust(self.width, "0" if zero and self.zero else " ")

    def _bad(self, value: object) -> str:
        verb, self.verb = self.verb, "v"
        text = self.apply(value)
        self.verb = verb
        return f"%!{verb}({kind(value)}={text})"


def _bounded(digits: str) -> int:
    number = int(digits[:5] or "0")
    if number > _WIDTH_MAX or len(digits) > 5:
        raise RenderError(f"printf: expected widths and precisions of at most {_WIDTH_MAX}, got {digits}")
    return number
