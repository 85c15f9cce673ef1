"""The text of a template, cut into plain texts and the tokens of its actions.

    "a {{- .B | js }}\n"   ->   Text("a"), Action(Token(FIELD, "B"), Token(PIPE), Token(WORD, "js")), Text("\n")

Comments are gone, and so is the white space that `{{- ` and ` -}}` trim.

Source: Go `text/template/parse/lex.go`; the language is described in the documentation of `text/template`.
"""

import re
from enum import Enum
from typing import Final, NamedTuple

__all__ = ["Action", "TemplateError", "Text", "Token", "TokenKind", "scan", "where"]

_SPACE: Final = " \t\r\n"
_DECIMAL: Final = r"(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?"
_NUMBER: Final = rf"[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|{_DECIMAL})"
_TOKENS: Final = re.compile(
    rf"""(?P<space>[ \t\r\n]+)
    |(?P<number>{_NUMBER}(?!\w))
    |(?P<character>'(?:[^'\\\n]|\\.)+')
    |(?P<quoted>"(?:[^"\\\n]|\\.)*")
    |(?P<raw>`[^`]*`)
    |(?P<field>\.[^\W\d]\w*)
    |(?P<dot>\.)
    |(?P<variable>\$\w*)
    |(?P<word>[^\W\d]\w*)
    |(?P<declare>:=)
    |(?P<assign>=)
    |(?P<pipe>\|)
    |(?P<comma>,)
    |(?P<open>\()
    |(?P<close>\))""",
    re.VERBOSE,
)
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_END: Final = re.compile(r"[ \t\r\n]+-\}\}|\}\}")
_ESCAPES: Final = {
    "a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v",
    "\\": b"\\",
}  # fmt: skip
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_INT64: Final = 1 << 63


class TemplateError(ValueError):
    """The text is no template, or one of a kind that is not supported. Says where, and what was expected."""


class TokenKind(Enum):
    """What a token is; its value is how problems call it."""

    CONSTANT = "a constant"
    FIELD = "a field"
    DOT = "."
    VARIABLE = "a variable"
    WORD = "a name"
    DECLARE = ":="
    ASSIGN = "="
    PIPE = "|"
    COMMA = ","
    OPEN = "("
    CLOSE = ")"


class Token(NamedTuple):
    """One token of an action."""

    kind: TokenKind
    value: object
    """Of a constant its value; of a field, a variable (with its `$`) or a word its name."""
    position: int
    """In the template's text."""
    is_adjacent: bool
    """No white space stands before it."""


class Text(NamedTuple):
    """Put out as it is."""

    text: str


class Action(NamedTuple):
    """What stands between `{{` and `}}`."""

    tokens: list[Token]
    position: int


def scan(text: str) -> list[Text | Action]:
    """Cut a template. Raises `TemplateError`."""
    parts: list[Text | Action] = []
    position, trims = 0, False
    while True:
        begin = text.find("{{", position)
        plain = text[position : len(text) if begin < 0 else begin]
        if trims:
            plain = plain.lstrip(_SPACE)
        if begin < 0:
            if plain:
                parts.append(Text(plain))
            return parts
        is_trimmed = text.startswith("-", begin + 2) and text[begin + 3 : begin + 4] in tuple(_SPACE)
        if is_trimmed:
            plain = plain.rstrip(_SPACE)
        if plain:
            parts.append(Text(plain))
        action, position, trims = _scan_action(text, begin, begin + (4 if is_trimmed else 2))
        if action is not None:
            parts.append(action)


def where(text: str, position: int) -> str:
    """Name a position for people."""
    line_begin = text.rfind("\n", 0, position) + 1
    return f"line {text.count(chr(10), 0, position) + 1}, column {position - line_begin + 1}"


def _scan_action(text: str, begin: int, position: int) -> tuple[Action | None, int, bool]:
    """Return (action, position behind it, whether the text behind it is trimmed); None for a comment."""
    comment = _COMMENT.match(text, position)
    if comment is not None or text.startswith("/*", position):
        end = None if comment is None else _END.match(text, comment.end())
        if end is None:
            raise TemplateError(f"{where(text, begin)}: expected a comment {{{{/* ... */}}}}, closed at once behind it")
        return None, end.end(), len(end[0]) > 2
    tokens: list[Token] = []
    is_adjacent = False
    while True:
        end = _END.match(text, position)
        if end is not None:
            return Action(tokens, begin), end.end(), len(end[0]) > 2
        match = _TOKENS.match(text, position)
        if match is None or match.lastgroup is None:
            raise _unscannable(text, begin, position)
        position = match.end()
        if match.lastgroup == "space":
            is_adjacent = False
            continue
        try:
            tokens.append(_token(match.lastgroup, match[0], match.start(), is_adjacent))
        except ValueError as error:
            raise TemplateError(f"{where(text, match.start())}: {error}") from error
        is_adjacent = True


def _unscannable(text: str, begin: int, position: int) -> TemplateError:
    if position >= len(text):
        return TemplateError(f"{where(text, begin)}: expected }}}} at the end of the action")
    character = text[position]
    if character in "\"'`":
        return TemplateError(f"{where(text, position)}: expected {character} at the end of the constant")
    return TemplateError(f"{where(text, position)}: expected a name, a constant or }}}}, got {character!r}")


def _token(group: str, text: str, position: int, is_adjacent: bool) -> Token:
    """Raises `ValueError`."""
    value: object = text
    if group == "number":
        value = _number(text)
    elif group == "character":
        character = _unquote(text).decode()
        if len(character) != 1:
            raise ValueError(f"expected one character, got {text}")
        value = ord(character)
    elif group == "quoted":
        value = _unquote(text).decode("utf-8", "surrogateescape")
    elif group == "raw":
        value = text[1:-1]
    elif group == "word" and text in ("true", "false"):
        value = text == "true"
    elif group == "field":
        return Token(TokenKind.FIELD, text[1:], position, is_adjacent)
    else:
        return Token(TokenKind[group.upper()], text, position, is_adjacent)
    return Token(TokenKind.CONSTANT, value, position, is_adjacent)


def _number(text: str) -> int | float:
    """A constant is a float when it looks like one. Raises `ValueError`."""
    digits = text.lstrip("+-").lower()
    is_prefixed = digits[:2] in ("0x", "0b", "0o")
    if not is_prefixed and any(character in digits for character in ".e"):
        return float(text)
    if not is_prefixed and len(digits) > 1 and digits[0] == "0":
        text = text.replace("0", "0o", 1)
    value = int(text, 0)
    if not -_INT64 <= value < _INT64:
        raise ValueError(f"expected a number of 64 bits, got {text}")
    return value


def _unquote(constant: str) -> bytes:
    """Return what stands between the quotes, with backslashes resolved. Raises `ValueError`."""
    quote, text = constant[0], constant[1:-1]

    def resolve(match: re.Match[str]) -> bytes:
        code = match[1]
        if code[0] in "uU" and len(code) > 1:
            return chr(int(code[1:], 16)).encode()
        if code[0] == "x" and len(code) > 1:
            return bytes([int(code[1:], 16)])
        if len(code) == 3:
            return bytes([int(code, 8)])
        if code == quote:
            return code.encode()
        if code not in _ESCAPES:
            raise ValueError(f"expected an escape sequence of Go, got {match[0]!r}")
        return _ESCAPES[code]

    pieces: list[bytes] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        pieces += text[position : match.start()].encode("utf-8", "surrogateescape"), resolve(match)
        position = match.end()
    return b"".join((*pieces, text[position:].encode("utf-8", "surrogateescape")))
