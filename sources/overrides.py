"""`K_CE_OVERRIDES`: extensions that every event of a source gets.

Pure. Source: spec eventing-sources.md 1.1-1.3; a program has to take the empty text, too (pitfall 11).
"""

import json
from collections.abc import Mapping
from typing import Final

from eventing.event import Event

__all__ = ["Overrides", "OverridesError"]

_CORE: Final = frozenset(
    ["specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype", "data", "data_base64"]
)
_ALNUM: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


class OverridesError(ValueError):
    """The text cannot be read; says what was expected."""


class Overrides:
    """Extensions by their names, in lower case; immutable."""

    __slots__ = ("_extensions", "problem")

    def __init__(self, extensions: Mapping[str, str] | None = None) -> None:
        self._extensions = {name.lower(): value for name, value in (extensions or {}).items()}
        wrong = sorted(name for name in self._extensions if name in _CORE or not name or not _ALNUM.issuperset(name))
        self.problem = f"ceOverrides: expected names of extensions, got {', '.join(wrong)[:128]}" if wrong else ""
        """Why no event with them is valid, so that none is sent; empty when nothing is wrong."""

    @classmethod
    def parse(cls, text: str) -> "Overrides":
        """Read `{"extensions": {"name": "value"}}`; the empty text has none. Raises `OverridesError`."""
        if not text.strip():
            return cls()
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise OverridesError(f"expected JSON: {error}") from error
        extensions = content.get("extensions") if isinstance(content, dict) else content
        if isinstance(content, dict) and extensions is None:
            return cls()
        if not isinstance(extensions, dict) or not all(isinstance(value, str) for value in extensions.values()):
            raise OverridesError('expected {"extensions": {"name": "value"}}')
        return cls(extensions)

    def apply(self, event: Event) -> None:
        """Replace the event's extensions of these names, or add them."""
        event.attributes.update(self._extensions)
