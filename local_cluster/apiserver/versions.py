"""One version of an object, a write, and which of them a selection means. Conformance: api-clients statement 20.

An object version is its JSON text, encoded once, beside what selection and garbage collection ask for (labels,
selectable fields, owners). Decoding gives every reader a dict of its own, so nothing is ever shared mutably, and a list
is a join of bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from local_cluster.apiserver.selectors import EVERY_FIELD, EVERY_LABEL, FieldSelector, LabelSelector

__all__ = ["Change", "Seen", "Selection", "Stored"]


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of one object."""

    namespace: str
    """Empty for cluster-scoped kinds."""
    name: str
    uid: str
    version: int
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    """Values of the kind's own selectable fields; `field` knows all."""
    owners: tuple[str, ...]
    """UIDs of the owner references."""
    is_ending: bool
    """Whether it is being deleted, and only something that holds it keeps it."""
    data: bytes
    """The whole object as JSON, in its storage version."""

    def field(self, name: str) -> str:
        """The value of a selectable field; empty when it is absent."""
        if name == "metadata.name":
            return self.name
        return self.namespace if name == "metadata.namespace" else self.fields.get(name, "")

    def load(self) -> dict[str, Any]:
        """The object as a dict that the caller may change."""
        loaded: dict[str, Any] = orjson.loads(self.data)
        return loaded


class Change:
    """One write. `state` is the object afterwards; of a deletion, its last state under the deletion's version."""

    __slots__ = ("_rendered", "is_deletion", "previous", "state")

    def __init__(self, state: Stored, previous: Stored | None, is_deletion: bool) -> None:
        self.state = state
        self.previous = previous
        self.is_deletion = is_deletion
        self._rendered: dict[object, bytes] = {}

    @property
    def version(self) -> int:
        """The number of this write."""
        return self.state.version

    def rendered(self, key: object, render: Callable[[], bytes]) -> bytes:
        """The bytes of this change in the form that `key` names, made once for all watchers of that form."""
        found = self._rendered.get(key)
        if found is None:
            found = self._rendered[key] = render()
        return found

    def forget_rendered(self) -> None:
        """Give the memory back; whoever still asks has it rendered anew."""
        self._rendered.clear()


class Seen(NamedTuple):
    """A change as one watcher sees it: `type` is ADDED, MODIFIED or DELETED by that watcher's selection."""

    type: str
    change: Change


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a collection are meant."""

    namespace: str = ""
    """Empty: all namespaces."""
    labels: LabelSelector = EVERY_LABEL
    fields: FieldSelector = EVERY_FIELD

    @property
    def is_everything(self) -> bool:
        """Whether no object of the namespace is left out by a selector."""
        return not self.labels.requirements and not self.fields.requirements

    def includes(self, stored: Stored) -> bool:
        """Whether this version of an object is selected."""
        if self.namespace and stored.namespace != self.namespace:
            return False
        return self.labels.matches(stored.labels) and self.fields.matches(stored.field)

    def sees(self, change: Change) -> Seen | None:
        """How this selection experiences a write: entering is ADDED, leaving is DELETED, outside is None."""
        if self.namespace and change.state.namespace != self.namespace:
            return None
        previous = change.previous
        before = previous is not None and self.includes(previous)
        after = not change.is_deletion and self.includes(change.state)
        if after:
            return Seen("MODIFIED" if before else "ADDED", change)
        return Seen("DELETED", change) if before else None
