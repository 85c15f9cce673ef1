"""Compiling a template, and rendering it.

The compiler turns each action into a closure at once; there is no tree in between. What one rendering may cost is
bounded, whatever the template and the data: the template by its length and depth, its loops by the turns that they take
together, the output by its length.

Not supported: `define`, `template`, `block`, `break`, `continue`, `call`, complex numbers, and what the data does not
list.

Source: documentation of Go's `text/template`; `text/template/parse/parse.go`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from proxies.gotemplate import closures
from proxies.gotemplate.closures import Expression, Frame, Statement
from proxies.gotemplate.functions import FUNCTIONS
from proxies.gotemplate.scanner import Action, TemplateError, Text, Token, TokenKind, scan, where
from proxies.gotemplate.values import RenderError

__all__ = ["RenderError", "Template", "TemplateError"]

_TEXT_MAX: Final = 64 * 1024
"""Characters of a template."""
_DEPTH_MAX: Final = 50
"""Of blocks and parentheses inside each other."""

_CONTROLS: Final = ("if", "with", "range")
_ENDS: Final = ("else", "end")
_UNSUPPORTED: Final = ("define", "template", "block", "break", "continue", "call")


class Template:
    """A compiled template."""

    def __init__(self, text: str) -> None:
        """Raises `TemplateError`, which says where and what is wrong or not supported."""
        if len(text) > _TEXT_MAX:
            raise TemplateError(f"expected at most {_TEXT_MAX} characters, got {len(text)}")
        compiler = _Compiler(text)
        self._run = compiler.compile()
        self._variables = compiler.slots

    def render(self, data: object) -> str:
        """Apply it to `data`, which is what `.` and `$` stand for. Raises `RenderError`, which says where."""
        frame = Frame(data, self._variables)
        self._run(frame)
        return "".join(frame.output)


class _Tokens:
    """The tokens of one action, taken one by one."""

    def __init__(self, action: Action, error: Callable[[int, str], TemplateError]) -> None:
        self.position = action.position
        self._tokens = action.tokens
        self._index = 0
        self._error = error

    def peek(self, ahead: int = 0) -> Token | None:
        """The next token, or one behind it."""
        index = self._index + ahead
        return self._tokens[index] if index < len(self._tokens) else None

    def next(self) -> Token:
        """Take a token that is there."""
        self._index += 1
        return self._tokens[self._index - 1]

    def take(self, kind: TokenKind, *words: str) -> Token | None:
        """Take the next token if it is of that kind, and one of `words` if there are any."""
        token = self.peek()
        if token is None or token.kind is not kind or (words and token.value not in words):
            return None
        return self.next()

    def take_field(self) -> Token | None:
        """Take a field that stands close behind what was taken."""
        token = self.peek()
        return self.take(TokenKind.FIELD) if token is not None and token.is_adjacent else None

    def take_assignment(self) -> tuple[Token, bool] | None:
        """Take `$name :=` or `$name =`: the name, and whether it is declared."""
        operator = self.peek(1)
        if operator is None or operator.kind not in (TokenKind.DECLARE, TokenKind.ASSIGN):
            return None
        name = self.take(TokenKind.VARIABLE)
        if name is None:
            return None
        self.next()
        return name, operator.kind is TokenKind.DECLARE

    def finish(self) -> None:
        """Nothing may follow."""
        token = self.peek()
        if token is not None:
            raise self._error(token.position, f"expected the end of the action, got {token.value}")


class _Compiler:
    """Goes through the parts of a template once."""

    def __init__(self, text: str) -> None:
        self.slots = 0
        """Variables of the template."""
        self._text = text
        self._parts = iter(scan(text))
        self._scope: dict[str, int] = {}
        self._depth = 0

    def compile(self) -> Statement:
        """Compile all of it."""
        run, end, _ = self._block()
        if end is not None:
            raise self._error(end.position, f"expected an if, with or range before this {end.value}")
        return self._located(run, 0)

    # Statements.

    def _block(self) -> tuple[Statement, Token | None, _Tokens | None]:
        """Compile up to an `end` or `else`; return that word and what follows it in its action."""
        statements: list[Statement] = []
        for part in self._parts:
            if isinstance(part, Text):
                statements.append(closures.text(part.text))
                continue
            tokens = _Tokens(part, self._error)
            if (end := tokens.take(TokenKind.WORD, *_ENDS)) is not None:
                return closures.sequence(statements), end, tokens
            if (control := tokens.take(TokenKind.WORD, *_CONTROLS)) is not None:
                statements.append(self._control(control, tokens))
            else:
                statements.append(self._action(tokens))
        return closures.sequence(statements), None, None

    def _action(self, tokens: _Tokens) -> Statement:
        """A pipeline whose value is put out or assigned."""
        target = tokens.take_assignment()
        value = self._whole_pipeline(tokens)
        build = closures.put if target is None else partial(closures.assign, self._target(*target))
        return self._located(build(value), tokens.position)

    def _control(self, word: Token, tokens: _Tokens) -> Statement:
        """`if`, `with` or `range`, to its `end`."""
        self._deeper(word)
        scope = self._scope
        build = self._loop(tokens) if word.value == "range" else self._condition(word, tokens)
        inner = self._scope
        body, end, rest = self._block()
        self._scope = inner
        otherwise: Statement = closures.sequence(())
        if end is not None and rest is not None and end.value == "else":
            chained = None if word.value == "range" else rest.take(TokenKind.WORD, str(word.value))
            if chained is None:
                rest.finish()
                otherwise, end, rest = self._block()
            else:
                # `{{else if}}` is an `if` inside the `else`; one `end` ends both.
                otherwise, rest = self._control(chained, rest), None
        if end is None or (rest is not None and end.value != "end"):
            raise self._error(word.position, f"expected an end to this {word.value}, and one else at most")
        if rest is not None:
            rest.finish()
        self._scope = scope
        self._depth -= 1
        return self._located(build(body, otherwise), word.position)

    def _condition(self, word: Token, tokens: _Tokens) -> Callable[[Statement, Statement], Statement]:
        target = tokens.take_assignment()
        value = self._whole_pipeline(tokens)
        if target is not None:
            value = closures.assign(self._target(*target), value)
        return partial(closures.choose if word.value == "if" else closures.enter, value)

    def _loop(self, tokens: _Tokens) -> Callable[[Statement, Statement], Statement]:
        comma = tokens.peek(1)
        first = tokens.take(TokenKind.VARIABLE) if comma is not None and comma.kind is TokenKind.COMMA else None
        if first is not None:
            tokens.next()
        target = tokens.take_assignment()
        if first is not None and target is None:
            raise self._error(first.position, "expected $index, $element := behind range")
        over = self._whole_pipeline(tokens)
        slots: list[int] = []
        if target is not None:
            element, is_declared = target
            slots = [self._target(name, is_declared) for name in (first, element) if name is not None]
        return partial(closures.loop, over, slots)

    # Expressions.

    def _whole_pipeline(self, tokens: _Tokens) -> Expression:
        """A pipeline to the end of its action."""
        value = self._pipeline(tokens)
        tokens.finish()
        return value

    def _pipeline(self, tokens: _Tokens) -> Expression:
        """Commands with `|` between: each is given the value of the one before as its last argument."""
        value = self._command(tokens, ())
        while tokens.take(TokenKind.PIPE):
            value = self._command(tokens, (value,))
        return value

    def _command(self, tokens: _Tokens, piped: tuple[Expression, ...]) -> Expression:
        first = tokens.peek()
        if first is None or first.kind in (TokenKind.PIPE, TokenKind.CLOSE):
            raise self._error(tokens.position if first is None else first.position, "expected a command")
        if first.kind is TokenKind.WORD and first.value != "nil":
            return self._call(tokens.next(), (*self._arguments(tokens), *piped))
        base, names = self._operand(tokens)
        arguments = (*self._arguments(tokens), *piped)
        if arguments and not names:
            raise self._error(first.position, f"{first.value} takes no arguments")
        if first.value == "nil" and first.kind is TokenKind.WORD:
            raise self._error(first.position, "nil is no command")
        return closures.chain(base, names, arguments)

    def _call(self, token: Token, arguments: tuple[Expression, ...]) -> Expression:
        name = str(token.value)
        if name in ("and", "or") and arguments:
            return closures.first_that_is(name == "or", arguments)
        if name not in FUNCTIONS:
            problem = "is not supported" if name in _UNSUPPORTED else "is no function"
            raise self._error(token.position, f"{name} {problem}")
        return closures.call(name, FUNCTIONS[name], arguments)

    def _arguments(self, tokens: _Tokens) -> list[Expression]:
        arguments: list[Expression] = []
        while (token := tokens.peek()) is not None and token.kind not in (TokenKind.PIPE, TokenKind.CLOSE):
            if token.is_adjacent:
                raise self._error(token.position, f"expected a space before {token.value}")
            if token.kind is TokenKind.WORD and token.value != "nil":
                arguments.append(self._call(tokens.next(), ()))
            else:
                arguments.append(closures.chain(*self._operand(tokens), ()))
        return arguments

    def _operand(self, tokens: _Tokens) -> tuple[Expression, list[str]]:
        """What an operand begins with, and the fields behind it."""
        token = tokens.next()
        names: list[str] = []
        base: Expression = closures.dot
        has_fields = token.kind in (TokenKind.FIELD, TokenKind.VARIABLE, TokenKind.OPEN)
        if token.kind is TokenKind.FIELD:
            names.append(str(token.value))
        elif token.kind is TokenKind.VARIABLE:
            base = closures.data if token.value == "$" else closures.variable(self._slot(token))
        elif token.kind is TokenKind.OPEN:
            self._deeper(token)
            base = self._pipeline(tokens)
            if not tokens.take(TokenKind.CLOSE):
                raise self._error(token.position, "expected a ) to this (")
            self._depth -= 1
        elif token.kind is TokenKind.CONSTANT:
            base = closures.constant(token.value)
        elif token.kind is TokenKind.WORD:
            base = closures.constant(None)
        elif token.kind is not TokenKind.DOT:
            raise self._error(token.position, f"expected a value, got {token.value}")
        while (named := tokens.take_field()) is not None:
            if not has_fields:
                raise self._error(named.position, f"{token.value} has no fields")
            names.append(str(named.value))
        return base, names

    # Variables, and places.

    def _target(self, name: Token, is_declared: bool) -> int:
        """Return the slot of a variable that is set."""
        if not is_declared:
            return self._slot(name)
        self._scope = {**self._scope, str(name.value): self.slots}
        self.slots += 1
        return self.slots - 1

    def _slot(self, name: Token) -> int:
        slot = self._scope.get(str(name.value))
        if slot is None:
            raise self._error(name.position, f"{name.value} is not declared")
        return slot

    def _deeper(self, token: Token) -> None:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise self._error(token.position, f"expected at most {_DEPTH_MAX} blocks and parentheses inside each other")

    def _error(self, position: int, problem: str) -> TemplateError:
        return TemplateError(f"{where(self._text, position)}: {problem}")

    def _located(self, run: Expression, position: int) -> Expression:
        """Let the problems of `run` say where they arose: innermost."""
        text = self._text

        def located(frame: Frame) -> Any:
            try:
                return run(frame)
            except RenderError as error:
                if error.is_located:
                    raise
                raise RenderError(f"{where(text, position)}: {error}", is_located=True) from error

        return located
