"""Tokens to a tree, by precedence climbing.

From what binds most to what binds least:

    calls, literals, attributes, EXISTS, brackets
    NOT, unary -
    LIKE, IN
    * / %
    + -
    = != <> < <= > >=
    AND OR XOR            all alike, and from the right: `a AND b OR c` is `a AND (b OR c)`

Source: the grammar of CloudEvents SQL.
"""

from typing import Final

from eventing.filters.cesql.nodes import Attribute, Binary, Call, Exists, In, Like, Literal, Negative, Node, Not
from eventing.filters.cesql.tokens import Token, TokenKind, tokens_of
from eventing.filters.cesql.values import ParseError
from eventing.values import INT_MAX, INT_MIN

__all__ = ["DEPTH_MAX", "parse"]

DEPTH_MAX: Final = 100
"""Brackets, calls and operators within each other."""

_LOGIC: Final = 1
_POWERS: Final = {
    **dict.fromkeys(("AND", "OR", "XOR"), _LOGIC),
    **dict.fromkeys(("=", "!=", "<>", "<", "<=", ">", ">="), 2),
    **dict.fromkeys(("+", "-"), 3),
    **dict.fromkeys(("*", "/", "%"), 4),
    **dict.fromkeys(("LIKE", "IN", "NOT"), 5),
}
_UNARY: Final = 6


def parse(text: str) -> Node:
    """Return the tree of an expression. Raises `ParseError`, which says where."""
    parser = _Parser(tokens_of(text))
    node = parser.expression(0)
    parser.expect("")
    return node


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._index = 0
        self._depth = 0

    def expression(self, power_min: int) -> Node:
        """Return what operators that bind at least as much as `power_min` hold together."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ParseError(f"expected at most {DEPTH_MAX} expressions within each other")
        left = self._operand()
        while True:
            token = self._tokens[self._index]
            power = _POWERS.get(token.text, 0) if token.kind in (TokenKind.KEYWORD, TokenKind.SYMBOL) else 0
            if not power or power < power_min:
                break
            self._index += 1
            if token.text in ("LIKE", "IN", "NOT"):
                left = self._like_or_in(left, token)
            else:
                operator = "!=" if token.text == "<>" else token.text
                left = Binary(operator, left, self.expression(power if power == _LOGIC else power + 1))
        self._depth -= 1
        return left

    def expect(self, text: str) -> None:
        """Take a symbol, or the end. Raises `ParseError` when it is something else."""
        token = self._tokens[self._index]
        if token.kind not in (TokenKind.SYMBOL, TokenKind.END) or token.text != text:
            raise self._unexpected(f"{text!r}" if text else "an operator or the end")
        self._index += 1

    def _operand(self) -> Node:
        token = self._tokens[self._index]
        self._index += 1
        match token.kind:
            case TokenKind.INTEGER:
                return self._integer(token, 1)
            case TokenKind.STRING:
                return Literal(token.text)
            case TokenKind.NAME:
                if self._is_next("("):
                    return Call(token.text.upper(), self._elements(may_be_empty=True))
                return Attribute(self._attribute(token))
            case TokenKind.KEYWORD if token.text in ("TRUE", "FALSE"):
                return Literal(token.text == "TRUE")
            case TokenKind.KEYWORD if token.text == "NOT":
                return Not(self.expression(_UNARY))
            case TokenKind.KEYWORD if token.text == "EXISTS":
                name = self._tokens[self._index]
                if name.kind is not TokenKind.NAME:
                    raise self._unexpected("an attribute behind EXISTS")
                self._index += 1
                return Exists(self._attribute(name))
            case TokenKind.SYMBOL if token.text in ("-", "+"):
                return self._signed(token)
            case TokenKind.SYMBOL if token.text == "(":
                node = self.expression(0)
                self.expect(")")
                return node
        self._index -= 1
        raise self._unexpected("an expression")

    def _signed(self, sign: Token) -> Node:
        token = self._tokens[self._index]
        if token.kind is TokenKind.INTEGER:
            self._index += 1
            return self._integer(token, -1 if sign.text == "-" else 1)
        if sign.text == "+":
            raise self._unexpected("an integer behind +")
        return Negative(self.expression(_UNARY))

    def _integer(self, token: Token, sign: int) -> Literal:
        value = sign * int(token.text) if len(token.text) <= 64 else INT_MAX + 1
        if not INT_MIN <= value <= INT_MAX:
            raise ParseError(f"expected an integer of 32 bits, got {token.text[:32]} at {token.position}")
        return Literal(value)

    def _like_or_in(self, left: Node, token: Token) -> Node:
        is_negated = token.text == "NOT"
        if is_negated:
            token = self._tokens[self._index]
            if token.kind is not TokenKind.KEYWORD or token.text not in ("LIKE", "IN"):
                raise self._unexpected("LIKE or IN behind NOT")
            self._index += 1
        if token.text == "IN":
            return In(left, self._elements(may_be_empty=False), is_negated)
        pattern = self._tokens[self._index]
        if pattern.kind is not TokenKind.STRING:
            raise self._unexpected("a string behind LIKE")
        self._index += 1
        return Like(left, pattern.text, is_negated)

    def _elements(self, *, may_be_empty: bool) -> tuple[Node, ...]:
        self.expect("(")
        elements: list[Node] = []
        if may_be_empty and self._is_next(")"):
            self._index += 1
            return ()
        while True:
            elements.append(self.expression(0))
            if not self._is_next(","):
                break
            self._index += 1
        self.expect(")")
        return tuple(elements)

    def _attribute(self, token: Token) -> str:
        if "_" in token.text:
            raise ParseError(
                f"expected an attribute of letters and digits, got {token.text[:64]!r} at {token.position}"
            )
        return token.text

    def _is_next(self, symbol: str) -> bool:
        token = self._tokens[self._index]
        return token.kind is TokenKind.SYMBOL and token.text == symbol

    def _unexpected(self, expected: str) -> ParseError:
        token = self._tokens[self._index]
        got = repr(token.text[:64]) if token.kind is not TokenKind.END else "the end"
        return ParseError(f"expected {expected}, got {got} at {token.position}")
