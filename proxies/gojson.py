"""JSON objects read as Go reads them into a struct.

Settings that Go programs marshal come to us as text: key names count in any case, `null` is absent, unknown keys are
left alone, and a value of the wrong type is an error. Every reader raises `ValueError` with the path of the key, what
was expected and what came.
"""

import json
from collections.abc import Mapping

__all__ = ["GoObject", "decode"]

_INT32 = 1 << 31
_INT64 = 1 << 63


def decode(text: str) -> object:
    """Return the JSON value in `text`. Raises `ValueError`, also for what only Python takes for JSON (`NaN`)."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("expected an object, got one that is nested too deeply") from None


class GoObject:
    """One JSON object. `path` names it in errors; empty for the outermost."""

    __slots__ = ("_path", "_values")

    def __init__(self, data: object, path: str = "") -> None:
        """`data`: a decoded JSON value; None is an object without keys. Raises `ValueError`."""
        if data is not None and not isinstance(data, dict):
            raise ValueError(f"{path or 'the text'}: expected an object, got {data!r:.64}")
        self._path = path
        self._values: Mapping[str, object] = {
            str(key).lower(): value for key, value in (data or {}).items() if value is not None
        }

    def get(self, name: str) -> object:
        """The value as decoded; None when absent."""
        return self._values.get(name.lower())

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self._values.get(name.lower(), default)
        if not isinstance(value, str):
            raise self.error(name, f"expected a text, got {value!r}")
        return value

    def boolean(self, name: str, default: bool = False) -> bool:
        """A boolean."""
        value = self._values.get(name.lower(), default)
        if not isinstance(value, bool):
            raise self.error(name, f"expected true or false, got {value!r}")
        return value

    def number(self, name: str, default: float = 0.0) -> float:
        """A number, whole or not."""
        value = self._values.get(name.lower(), default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.error(name, f"expected a number, got {value!r}")
        return value

    def int32(self, name: str) -> int:
        """A whole number of 32 bits."""
        return self._integer(name, 0, 32, _INT32)

    def int64(self, name: str, default: int = 0) -> int:
        """A whole number of 64 bits."""
        return self._integer(name, default, 64, _INT64)

    def object(self, name: str) -> "GoObject | None":
        """An object; None when absent."""
        value = self._values.get(name.lower())
        return None if value is None else GoObject(value, self._named(name))

    def objects(self, name: str) -> "list[GoObject]":
        """A list of objects; empty when absent."""
        values = self._values.get(name.lower(), [])
        if not isinstance(values, list):
            raise self.error(name, f"expected a list, got {values!r:.64}")
        return [GoObject(value, f"{self._named(name)}[{index}]") for index, value in enumerate(values)]

    def error(self, name: str, problem: str) -> ValueError:
        """Return an error about the key `name`, to be raised by whoever knows more than the type."""
        return ValueError(f"{self._named(name)}: {problem}")

    def _named(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _integer(self, name: str, default: int, bits: int, limit: int) -> int:
        value = self._values.get(name.lower(), default)
        if not isinstance(value, int) or isinstance(value, bool) or not -limit <= value < limit:
            raise self.error(name, f"expected a whole number of {bits} bits, got {value!r}")
        return value


def _refuse_constant(text: str) -> None:
    raise ValueError(f"expected a JSON value, got {text}")
