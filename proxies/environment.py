"""Reading a service's environment once, and reporting everything that is wrong with it together.

A `config.py` asks for each variable by name; a bad one is remembered and a harmless value returned, so that the reader
goes on to the next. `finish` raises one `ConfigError` that lists them all.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from proxies import gotext

__all__ = ["ConfigError", "Environment"]

T = TypeVar("T")


class ConfigError(Exception):
    """The configuration cannot be used. `problems`: a line per variable with its name, its text, what was expected."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Environment:
    """One reading of an environment. A variable that exists but is empty is present (spec queue-proxy.md 2.1)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        """The variable's text; required when `default` is None."""
        return self.parsed(name, str, default, "")

    def filled(self, name: str) -> str:
        """A required variable that must not be empty either."""

        def parse(text: str) -> str:
            if not text:
                raise ValueError("expected a value")
            return text

        return self.parsed(name, parse, None, "")

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of `choices`; the first when absent."""

        def parse(text: str) -> str:
            if text not in choices:
                raise ValueError(f"expected {' or '.join(choices)}")
            return text

        return self.parsed(name, parse, choices[0], choices[0])

    def integer(self, name: str, default: int | None = None) -> int:
        """A Go integer with its base prefixes; required when `default` is None, and never empty."""
        return self.parsed(name, lambda text: gotext.parse_int(text, prefixes=True), default, 0)

    def boolean(self, name: str, default: bool | None = None) -> bool:
        """A Go boolean; required when `default` is None."""
        return self.parsed(name, gotext.parse_bool, default, False)

    def duration_s(self, name: str, default: float | None = None) -> float:
        """A Go duration in seconds; required when `default` is None."""
        return self.parsed(name, gotext.parse_duration_s, default, 0.0)

    def parsed(self, name: str, parse: Callable[[str], T], default: T | None, placeholder: T) -> T:
        """The variable through `parse` (raises `ValueError`); `default` when absent, required when that is None."""
        text = self._environ.get(name)
        if text is None:
            if default is None:
                self.problems.append(f"required key {name} missing value")
                return placeholder
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(f"{name}={text!r}: {error}")
            return placeholder

    def refuse(self, problem: str) -> None:
        """Remember a problem that concerns several variables or a file."""
        self.problems.append(problem)

    def finish(self) -> None:
        """Raise `ConfigError` when anything was wrong."""
        if self.problems:
            raise ConfigError(self.problems)
