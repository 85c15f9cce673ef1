"""What is wrong with an object, field by field, and how users are told.

Checks are generators of `FieldError` with paths relative to what they were given; `at` puts the path of the caller in
front. Source: `knative.dev/pkg/apis/field_error.go`; spec control-plane.md 2.5.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

__all__ = [
    "FieldError",
    "at",
    "at_index",
    "disallowed",
    "invalid_key",
    "invalid_value",
    "missing",
    "missing_one_of",
    "multiple_one_of",
    "out_of_bounds",
    "render",
]

INT32_MAX = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class FieldError:
    """One message about one or more fields. The path `""` is the field that was being checked."""

    message: str
    paths: tuple[str, ...] = ()
    details: str = ""
    is_warning: bool = False


def missing(*paths: str) -> FieldError:
    """Required fields are absent."""
    return FieldError("missing field(s)", paths)


def disallowed(*paths: str) -> FieldError:
    """Fields are set that must not be."""
    return FieldError("must not set the field(s)", paths)


def invalid_value(value: object, path: str, details: str = "") -> FieldError:
    """A value cannot be used."""
    return FieldError(f"invalid value: {_text(value)}", (path,), details)


def invalid_key(key: str, path: str, details: str = "") -> FieldError:
    """A map's key, or a name, is malformed or not allowed."""
    return FieldError(f'invalid key name "{key}"', (path,), details)


def out_of_bounds(value: object, lowest: object, highest: object, path: str) -> FieldError:
    """A number or duration is outside of what is allowed."""
    return FieldError(f"expected {_text(lowest)} <= {_text(value)} <= {_text(highest)}", (path,))


def missing_one_of(*paths: str) -> FieldError:
    """Exactly one of several fields is needed, and none is set."""
    return FieldError("expected exactly one, got neither", paths)


def multiple_one_of(*paths: str) -> FieldError:
    """Exactly one of several fields may be set, and more are."""
    return FieldError("expected exactly one, got both", paths)


def at(path: str, errors: Iterable[FieldError]) -> Iterator[FieldError]:
    """`errors` as seen from the object whose field `path` was checked."""
    for error in errors:
        yield replace(error, paths=tuple(_join(path, inner) for inner in error.paths))


def at_index(path: str, index: int, errors: Iterable[FieldError]) -> Iterator[FieldError]:
    """`errors` of the element `index` of the list in field `path`."""
    return at(f"{path}[{index}]", errors)


def merged(errors: Iterable[FieldError]) -> list[FieldError]:
    """Errors that say the same become one with all paths, everything sorted as it is shown."""
    paths: dict[tuple[str, str, bool], set[str]] = {}
    for error in errors:
        paths.setdefault((error.message, error.details, error.is_warning), set()).update(error.paths)
    return [
        FieldError(message, tuple(sorted(found)), details, is_warning)
        for (message, details, is_warning), found in sorted(paths.items(), key=lambda item: item[0])
    ]


def render(errors: Iterable[FieldError]) -> str:
    """The text that users are shown: `message: path, path`, details on a line of their own."""
    lines = []
    for error in merged(errors):
        line = f"{error.message}: {', '.join(error.paths)}"
        lines.append(f"{line}\n{error.details}" if error.details else line)
    return "\n".join(lines)


def _join(outer: str, inner: str) -> str:
    if not inner:
        return outer
    return f"{outer}{inner}" if inner.startswith("[") or not outer else f"{outer}.{inner}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
