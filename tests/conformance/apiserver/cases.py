"""What a row of the tables says. A case is a dialogue with one server, in a namespace of its own.

Paths: `configmaps/a` is meant in the case's namespace, `/version` as it stands. `$name` anywhere in a path, parameter
or body stands for what an earlier step saved under that name; `$ns` is the namespace.
"""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Case", "Step", "apply", "case", "delete", "get", "patch", "post", "put", "watch"]

JSON = "application/json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request and what has to come back."""

    method: str
    path: str
    body: Any = None
    """Sent as JSON; bytes are sent as they are."""
    content_type: str = JSON
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    reason: str = ""
    """Of a refusal's Status."""
    has: dict[str, Any] = field(default_factory=dict)
    """Values by dotted path into the answer; a number steps into a list."""
    lacks: tuple[str, ...] = ()
    """Dotted paths at which nothing may be."""
    says: str = ""
    """Part of a refusal's message, or of a text."""
    save: dict[str, str] = field(default_factory=dict)
    """Names for values of the answer, by dotted path."""
    events: tuple[tuple[str, str], ...] = ()
    """Of a watch: types and names of its first events, in order."""
    eventually: bool = False
    """Asked again until it is so: the work of the garbage collector takes its time."""


@dataclass(frozen=True, slots=True)
class Case:
    """A dialogue."""

    name: str
    statements: tuple[int, ...]
    """Of api-clients; empty for rules that Kubernetes documents elsewhere."""
    steps: tuple[Step, ...]


def case(name: str, *steps: Step, of: tuple[int, ...] = ()) -> Case:
    """A case; `of` are the statements that it is about."""
    return Case(name, of, steps)


def get(path: str, **expected: Any) -> Step:
    """GET."""
    return Step(method="GET", path=path, **expected)


def post(path: str, body: Any, status: int = 201, **expected: Any) -> Step:
    """POST, which creates unless said otherwise."""
    return Step(method="POST", path=path, body=body, status=status, **expected)


def put(path: str, body: Any, **expected: Any) -> Step:
    """PUT."""
    return Step(method="PUT", path=path, body=body, **expected)


def patch(path: str, body: Any, content_type: str = MERGE, **expected: Any) -> Step:
    """PATCH, with a merge patch unless said otherwise."""
    return Step(method="PATCH", path=path, body=body, content_type=content_type, **expected)


def apply(path: str, body: Any, manager: str, *, force: bool = False, **expected: Any) -> Step:
    """Server-side apply."""
    params = {"fieldManager": manager, **({"force": "true"} if force else {}), **expected.pop("params", {})}
    return Step(method="PATCH", path=path, body=body, content_type=APPLY, params=params, **expected)


def delete(path: str, body: Any = None, **expected: Any) -> Step:
    """DELETE."""
    return Step(method="DELETE", path=path, body=body, **expected)


def watch(path: str, *events: tuple[str, str], params: dict[str, str] | None = None, **expected: Any) -> Step:
    """GET of a stream; it begins with `events`."""
    return Step(method="GET", path=path, params={"watch": "true", **(params or {})}, events=events, **expected)
