"""CESQL's text as tokens. Keywords, names of functions and of attributes have no case."""

import re
from enum import Enum
from typing import Final, NamedTuple

from eventing.filters.cesql.values import ParseError

__all__ = ["TEXT_CHARACTERS_MAX", "Token", "TokenKind", "tokens_of"]

TEXT_CHARACTERS_MAX: Final = 16 * 1024

KEYWORDS: Final = frozenset(["AND", "OR", "XOR", "NOT", "LIKE", "IN", "EXISTS", "TRUE", "FALSE"])


class TokenKind(Enum):
    """What a token is."""

    KEYWORD = "keyword"
    NAME = "name"
    """Of an attribute or a function."""
    INTEGER = "integer"
    STRING = "string"
    SYMBOL = "symbol"
    END = "end"


class Token(NamedTuple):
    """One token: keywords in upper case, names in lower case, strings without quotes and escapes."""

    kind: TokenKind
    text: str
    position: int
    """Of its first character in the text, from 0."""


_TOKEN: Final = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<integer>[0-9]+(?![0-9A-Za-z_]))
    | (?P<name>[0-9A-Za-z_]+)
    | '(?P<single>(?:[^'\\]|\\.|'')*)'
    | "(?P<double>(?:[^"\\]|\\.|"")*)"
    | (?P<symbol><>|!=|<=|>=|[-+*/%=<>(),])
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME: Final = re.compile(r"[0-9]*[A-Za-z][0-9A-Za-z_]*")


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a text, the end last. Raises `ParseError`."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise ParseError(f"expected at most {TEXT_CHARACTERS_MAX} characters, got {len(text)}")
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ParseError(f"expected an expression, got {text[position : position + 16]!r} at {position}")
        kind, found = match.lastgroup, match[match.lastgroup or 0]
        if kind == "name":
            tokens.append(_word(found, position))
        elif kind == "integer":
            tokens.append(Token(TokenKind.INTEGER, found, position))
        elif kind == "single":
            tokens.append(Token(TokenKind.STRING, found.replace("\\'", "'").replace("''", "'"), position))
        elif kind == "double":
            tokens.append(Token(TokenKind.STRING, found.replace('\\"', '"').replace('""', '"'), position))
        elif kind == "symbol":
            tokens.append(Token(TokenKind.SYMBOL, found, position))
        position = match.end()
    tokens.append(Token(TokenKind.END, "", len(text)))
    return tokens


def _word(text: str, position: int) -> Token:
    upper = text.upper()
    if upper in KEYWORDS:
        return Token(TokenKind.KEYWORD, upper, position)
    if _NAME.fullmatch(text) is None:
        raise ParseError(f"expected a name, got {text[:64]!r} at {position}")
    return Token(TokenKind.NAME, text.lower(), position)
